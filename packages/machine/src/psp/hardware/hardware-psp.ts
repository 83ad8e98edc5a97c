/**
 * The security processor of an SEV-SNP guest, reached through its kernel: the counterpart of `SoftwarePsp` where
 * the machine under this system is real. It launches nothing; the guest was launched by its host.
 */
import { MachineError } from '../../errors.js';
import type { DeriveKeyOptions } from '../guest-message-channel.js';
import { type DeviceOptions, SevGuestDevice } from './sev-guest-device.js';
import type { HardwareReport } from './signed-report.js';
import { type TsmOptions, TsmReports } from './tsm-reports.js';

/** How the security processor is reached. */
export type HardwareInterface = 'configfs-tsm' | 'sev-guest';

/** Places and calls other than the machine's own; `prefer` decides when both interfaces are there. */
export interface HardwarePspOptions {
  readonly tsm?: TsmOptions;
  readonly device?: DeviceOptions;
  readonly prefer?: HardwareInterface;
}

/** Reports and keys of the hardware. Synchronous, as the channel to the software PSP is. */
export class HardwarePsp {
  readonly #tsm: TsmReports;
  readonly #device: SevGuestDevice;
  /** The interface that makes reports. */
  readonly interface: HardwareInterface;

  private constructor(tsm: TsmReports, device: SevGuestDevice, chosen: HardwareInterface) {
    this.#tsm = tsm;
    this.#device = device;
    this.interface = chosen;
  }

  /** Finds the interface: configfs-tsm, or else the device. Throws HARDWARE_PSP_ABSENT. */
  static open(options: HardwarePspOptions = {}): HardwarePsp {
    const tsm = new TsmReports(options.tsm);
    const device = new SevGuestDevice(options.device);
    const there: HardwareInterface[] = [];
    if (tsm.available) there.push('configfs-tsm');
    if (device.available) there.push('sev-guest');
    const chosen = there.find((name) => name === options.prefer) ?? there[0];
    if (chosen === undefined || (options.prefer !== undefined && chosen !== options.prefer)) {
      throw new MachineError(
        'HARDWARE_PSP_ABSENT',
        `there is no ${options.prefer ?? 'configfs-tsm and no sev-guest device'} on this machine`,
        { advice: 'Run in an SEV-SNP guest; without one, leave out --hardware.' },
      );
    }
    return new HardwarePsp(tsm, device, chosen);
  }

  /** A report, and the host's certificates for it. Throws as `TsmReports.report` and `SevGuestDevice.report`. */
  attest(reportData: Uint8Array, vmpl?: number): HardwareReport {
    return this.interface === 'configfs-tsm'
      ? this.#tsm.report(reportData, vmpl)
      : this.#device.report(reportData, vmpl);
  }

  /** An attestation report (1184 bytes), as `GuestMessageChannel.report` gives it. */
  report(reportData: Uint8Array, vmpl?: number): Uint8Array {
    return this.attest(reportData, vmpl).report;
  }

  /** A derived key (32 bytes); needs the device. Throws as `SevGuestDevice.deriveKey`. */
  deriveKey(options: DeriveKeyOptions = {}): Uint8Array {
    return this.#device.deriveKey(options);
  }
}
