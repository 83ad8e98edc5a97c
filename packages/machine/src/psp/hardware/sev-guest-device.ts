/**
 * /dev/sev-guest (linux/sev-guest.h): guest messages to the security processor, sealed by the kernel.
 * For kernels before 6.7, and for derived keys, which configfs-tsm has not.
 */
import { closeSync, existsSync, openSync } from 'node:fs';
import { at, bytes, GUEST_FIELD_SELECT, MSG_KEY_RSP, struct, u8, u32, u64 } from '@nestedsgx/arch';
import * as os from '@nestedsgx/os';
import { MachineError } from '../../errors.js';
import type { DeriveKeyOptions } from '../guest-message-channel.js';
import { Busy, DEFAULT_PATIENCE, type Patience, patiently } from './attempts.js';
import { checkReport, type HardwareReport, paddedReportData, reportOfResponse } from './signed-report.js';

/** Where the driver has its device. */
export const SEV_GUEST_DEVICE = '/dev/sev-guest';

/** struct snp_guest_request_ioctl. */
export const SNP_GUEST_REQUEST_IOCTL = struct('snp_guest_request_ioctl', 32, {
  msg_version: at(0, u8),
  req_data: at(8, u64),
  resp_data: at(16, u64),
  fw_error: at(24, u32),
  vmm_error: at(28, u32),
});

/** struct snp_ext_report_req; the first 96 bytes are struct snp_report_req. */
export const SNP_EXT_REPORT_REQ = struct('snp_ext_report_req', 112, {
  user_data: at(0, bytes(64)),
  vmpl: at(64, u32),
  certs_address: at(96, u64),
  certs_len: at(104, u32),
});

/** struct snp_derived_key_req. */
export const SNP_DERIVED_KEY_REQ = struct('snp_derived_key_req', 32, {
  root_key_select: at(0, u32),
  guest_field_select: at(8, u64),
  vmpl: at(16, u32),
  guest_svn: at(20, u32),
  tcb_version: at(24, u64),
});

const ioctlNumber = (nr: number) => 0xc000_0000 + (SNP_GUEST_REQUEST_IOCTL.size << 16) + (0x53 << 8) + nr;
/** _IOWR('S', n, struct snp_guest_request_ioctl). */
export const SNP_GET_DERIVED_KEY = ioctlNumber(1);
export const SNP_GET_EXT_REPORT = ioctlNumber(2);

const REPORT_RESPONSE_BYTES = 4000;
const KEY_RESPONSE_BYTES = 64;
const VMM_ERROR_INVALID_LENGTH = 1;
const VMM_ERROR_BUSY = 2;
/** The kernel takes no larger certificate table (SEV_FW_BLOB_MAX_SIZE). */
const MAX_TABLE_BYTES = 0x4000;

/** The system call, and where a buffer lies for the kernel. */
export interface DeviceCalls {
  exists(path: string): boolean;
  open(path: string): number;
  close(fd: number): void;
  /** 0, or −1 when the kernel refuses. */
  ioctl(fd: number, request: number, argument: Uint8Array): number;
  addressOf(buffer: Uint8Array): number;
}

let libraryIoctl: ((fd: number, request: number, argument: Uint8Array) => number) | undefined;

const realCalls: DeviceCalls = {
  exists: existsSync,
  open: (path) => openSync(path, 'r+'),
  close: closeSync,
  ioctl(fd, request, argument) {
    libraryIoctl ??= os
      .loadLibrary('libc.so.6')
      .func('int ioctl(int fd, unsigned long request, void *argument)');
    return libraryIoctl(fd, request, argument);
  },
  addressOf: os.addressOf,
};

/** Options of {@link SevGuestDevice}; the defaults are the machine's own. */
export interface DeviceOptions {
  readonly path?: string;
  readonly calls?: DeviceCalls;
  readonly patience?: Patience;
}

/** Asks for reports and keys through /dev/sev-guest. Synchronous; opens the device for each request. */
export class SevGuestDevice {
  readonly #path: string;
  readonly #calls: DeviceCalls;
  readonly #patience: Patience;

  constructor(options: DeviceOptions = {}) {
    this.#path = options.path ?? SEV_GUEST_DEVICE;
    this.#calls = options.calls ?? realCalls;
    this.#patience = options.patience ?? DEFAULT_PATIENCE;
  }

  /** True when the driver has found its secrets page and made the device. */
  get available(): boolean {
    return this.#calls.exists(this.#path);
  }

  /** A report for `vmpl` (0). Throws HARDWARE_PSP_ABSENT, HARDWARE_PSP_BUSY, HARDWARE_PSP_REFUSED, HARDWARE_PSP_REPORT. */
  report(reportData: Uint8Array, vmpl = 0): HardwareReport {
    const padded = paddedReportData(reportData);
    return this.#session((fd) => {
      let table: Uint8Array = new Uint8Array(0);
      // The first request asks with no room for certificates and learns how much they need.
      for (let tries = 0; tries < 3; tries++) {
        const request = SNP_EXT_REPORT_REQ.encode({
          user_data: padded,
          vmpl,
          certs_address: table.length === 0 ? 0n : BigInt(this.#calls.addressOf(table)),
          certs_len: table.length,
        });
        const response = new Uint8Array(REPORT_RESPONSE_BYTES);
        const vmmError = this.#call(fd, SNP_GET_EXT_REPORT, request, response);
        if (vmmError === 0)
          return { report: checkReport(reportOfResponse(response), padded, vmpl), certificateTable: table };
        const { certs_len: needed } = SNP_EXT_REPORT_REQ.decode(request);
        if (needed <= table.length || needed > MAX_TABLE_BYTES || needed % 4096 !== 0)
          throw new MachineError('HARDWARE_PSP_REFUSED', `the host wants ${needed} bytes for certificates`);
        table = new Uint8Array(needed);
      }
      throw new Busy('the host changes its certificates');
    });
  }

  /** A derived key (32 bytes). Throws HARDWARE_PSP_ABSENT, HARDWARE_PSP_BUSY, HARDWARE_PSP_REFUSED. */
  deriveKey(options: DeriveKeyOptions = {}): Uint8Array {
    const fields = options.fields ?? ['MEASUREMENT', 'GUEST_POLICY'];
    return this.#session((fd) => {
      const request = SNP_DERIVED_KEY_REQ.encode({
        root_key_select: options.root === 'vmrk' ? 1 : 0,
        guest_field_select: fields.reduce((all, name) => all | GUEST_FIELD_SELECT[name], 0n),
        vmpl: options.vmpl ?? 0,
        guest_svn: options.guestSvn ?? 0,
        tcb_version: options.tcbVersion ?? 0n,
      });
      const response = new Uint8Array(KEY_RESPONSE_BYTES);
      const vmmError = this.#call(fd, SNP_GET_DERIVED_KEY, request, response);
      const answer = MSG_KEY_RSP.decode(response);
      os.wipe(response);
      if (vmmError !== 0 || answer.STATUS !== 0)
        throw new MachineError(
          'HARDWARE_PSP_REFUSED',
          `MSG_KEY_REQ was answered with status 0x${answer.STATUS.toString(16)}, host error ${vmmError}`,
        );
      return answer.DERIVED_KEY;
    });
  }

  #session<T>(work: (fd: number) => T): T {
    let fd: number;
    try {
      fd = this.#calls.open(this.#path);
    } catch (cause) {
      const absent = (cause as NodeJS.ErrnoException).code === 'ENOENT';
      throw new MachineError(
        absent ? 'HARDWARE_PSP_ABSENT' : 'HARDWARE_PSP_REFUSED',
        `${this.#path} cannot be opened: ${(cause as Error).message}`,
        { cause, advice: absent ? 'Run in an SEV-SNP guest with the module sev-guest.' : 'Run as root.' },
      );
    }
    try {
      return patiently(this.#patience, 'the security processor', () => work(fd));
    } finally {
      this.#calls.close(fd);
    }
  }

  /** One request; the host's error INVALID_LENGTH, or 0. Throws Busy, HARDWARE_PSP_REFUSED. */
  #call(fd: number, number: number, request: Uint8Array, response: Uint8Array): number {
    const argument = SNP_GUEST_REQUEST_IOCTL.encode({
      msg_version: 1,
      req_data: BigInt(this.#calls.addressOf(request)),
      resp_data: BigInt(this.#calls.addressOf(response)),
    });
    if (this.#calls.ioctl(fd, number, argument) === 0) return 0;
    const { fw_error: firmware, vmm_error: host } = SNP_GUEST_REQUEST_IOCTL.decode(argument);
    if (host === VMM_ERROR_BUSY) throw new Busy('the host is busy');
    if (host === VMM_ERROR_INVALID_LENGTH && number === SNP_GET_EXT_REPORT) return host;
    throw new MachineError(
      'HARDWARE_PSP_REFUSED',
      `${this.#path} refused a request: firmware error 0x${firmware.toString(16)}, host error ${host}`,
      { advice: 'See the kernel log (dmesg) for what sev-guest says.' },
    );
  }
}
