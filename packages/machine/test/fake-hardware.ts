/** An SNP guest's kernel, faked: configfs-tsm and /dev/sev-guest in front of a software PSP or a recorded report. */
import { GuestMessageChannel, SoftwarePsp } from '../src/index.js';
import {
  type DeviceCalls,
  SNP_DERIVED_KEY_REQ,
  SNP_EXT_REPORT_REQ,
  SNP_GET_DERIVED_KEY,
  SNP_GET_EXT_REPORT,
  SNP_GUEST_REQUEST_IOCTL,
} from '../src/psp/hardware/sev-guest-device.js';
import type { AttributeFiles } from '../src/psp/hardware/tsm-reports.js';

export type MakeReport = (reportData: Uint8Array, vmpl: number) => Uint8Array;

/** Reports of a software chip. */
export async function softwareReports(): Promise<MakeReport> {
  const psp = await SoftwarePsp.open(null);
  psp.launchStart();
  psp.launchFinish();
  const channel = new GuestMessageChannel(0, psp.vmpck(0), (message) => psp.guestRequest(message));
  return (reportData, vmpl) => channel.report(reportData, vmpl);
}

export const DIRECTORY = '/sys/kernel/config/tsm/report';

function failure(code: string): Error {
  return Object.assign(new Error(`${code}: as told`), { code });
}

interface Entry {
  generation: number;
  inblob?: Uint8Array;
  privlevel: number;
}

/** As drivers/virt/coco has it: attributes appear with the directory, each write is a generation, reads compute. */
export class FakeConfigfs implements AttributeFiles {
  readonly entries = new Map<string, Entry>();
  readonly log: string[] = [];
  provider = 'sev_guest';
  floor: number | null = 0;
  auxblob: Uint8Array | null = null;
  /** Errors that the next operations on an attribute give, in order. */
  readonly failures = new Map<string, string[]>();
  /** Called after each write, as another process might act. */
  meanwhile: ((entry: Entry) => void) | undefined;

  constructor(readonly makeReport: MakeReport) {}

  exists(path: string): boolean {
    if (path === DIRECTORY) return true;
    const [, name] = this.#parts(path);
    if (name === 'auxblob') return this.auxblob !== null;
    if (name === 'privlevel_floor') return this.floor !== null;
    return true;
  }

  mkdir(path: string): void {
    this.#fail('mkdir');
    if (this.entries.has(path)) throw failure('EEXIST');
    this.entries.set(path, { generation: 0, privlevel: this.floor ?? 0 });
  }

  rmdir(path: string): void {
    this.log.push('rmdir');
    if (!this.entries.delete(path)) throw failure('ENOENT');
  }

  write(path: string, bytes: Uint8Array): void {
    const [entry, name] = this.#parts(path);
    this.#fail(name);
    this.log.push(name);
    if (name === 'inblob') {
      if (bytes.length > 64) throw failure('EINVAL');
      entry.inblob = bytes.slice();
    } else if (name === 'privlevel') entry.privlevel = Number(new TextDecoder().decode(bytes));
    else throw failure('EACCES');
    entry.generation++;
    this.meanwhile?.(entry);
  }

  read(path: string): Uint8Array {
    const [entry, name] = this.#parts(path);
    this.#fail(name);
    const text = (value: string | number) => new TextEncoder().encode(`${value}\n`);
    if (name === 'provider') return text(this.provider);
    if (name === 'generation') return text(entry.generation);
    if (name === 'privlevel_floor') return text(this.floor ?? 0);
    if (entry.inblob === undefined) throw failure('EINVAL');
    if (name === 'outblob') return this.makeReport(entry.inblob, entry.privlevel);
    if (name === 'auxblob' && this.auxblob !== null) return this.auxblob;
    throw failure('EACCES');
  }

  #parts(path: string): [Entry, string] {
    const at = path.lastIndexOf('/');
    const entry = this.entries.get(path.slice(0, at));
    if (entry === undefined) throw failure('ENOENT');
    return [entry, path.slice(at + 1)];
  }

  #fail(name: string): void {
    const code = this.failures.get(name)?.shift();
    if (code !== undefined) throw failure(code);
  }
}

/** The driver behind /dev/sev-guest: follows the addresses it is given, as the kernel does. */
export class FakeDevice implements DeviceCalls {
  certificates = new Uint8Array(0);
  open_ = 0;
  requests = 0;
  present = true;
  /** Host errors that the next requests give. */
  readonly hostErrors: number[] = [];
  firmwareError = 0;
  status = 0;
  readonly #memory = new Map<number, Uint8Array>();

  constructor(readonly makeReport: MakeReport) {}

  exists(): boolean {
    return this.present;
  }

  open(): number {
    if (!this.present) throw failure('ENOENT');
    this.open_++;
    return 7;
  }

  close(): void {
    this.open_--;
  }

  addressOf(buffer: Uint8Array): number {
    const address = 0x7f00_0000_0000 + this.#memory.size * 0x10000;
    this.#memory.set(address, buffer);
    return address;
  }

  ioctl(_fd: number, number: number, argument: Uint8Array): number {
    this.requests++;
    const { msg_version, req_data, resp_data } = SNP_GUEST_REQUEST_IOCTL.decode(argument);
    const refuse = (vmm_error: number, fw_error = 0): number => {
      SNP_GUEST_REQUEST_IOCTL.patch({ vmm_error, fw_error }, argument);
      return -1;
    };
    if (msg_version !== 1) return refuse(0);
    const hostError = this.hostErrors.shift();
    if (hostError !== undefined) return refuse(hostError);
    if (this.firmwareError !== 0) return refuse(0, this.firmwareError);
    const request = this.#memory.get(Number(req_data)) as Uint8Array;
    const response = this.#memory.get(Number(resp_data)) as Uint8Array;
    const view = new DataView(response.buffer);
    view.setUint32(0, this.status, true);
    if (number === SNP_GET_DERIVED_KEY) {
      const { guest_field_select, root_key_select } = SNP_DERIVED_KEY_REQ.decode(request);
      response.fill(Number(guest_field_select) + 0x40 * root_key_select, 32, 64);
      return 0;
    }
    if (number !== SNP_GET_EXT_REPORT) return refuse(0);
    const { user_data, vmpl, certs_address, certs_len } = SNP_EXT_REPORT_REQ.decode(request);
    if (certs_len < this.certificates.length) {
      SNP_EXT_REPORT_REQ.patch({ certs_len: Math.ceil(this.certificates.length / 4096) * 4096 }, request);
      return refuse(1);
    }
    if (certs_len > 0) this.#memory.get(Number(certs_address))?.set(this.certificates);
    view.setUint32(4, 1184, true);
    response.set(this.makeReport(user_data, vmpl), 32);
    return 0;
  }
}
