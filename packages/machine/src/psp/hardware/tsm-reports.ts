/**
 * Reports through the kernel's TSM interface (Linux 6.7 and later, Documentation/ABI/testing/configfs-tsm-report):
 * a directory per requester, whose attributes are the request and its answer.
 */
import { randomBytes } from 'node:crypto';
import { constants, existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MachineError } from '../../errors.js';
import { Busy, DEFAULT_PATIENCE, type Patience, patiently } from './attempts.js';
import { checkReport, type HardwareReport, paddedReportData } from './signed-report.js';

/** Where configfs has the interface. */
export const TSM_REPORT_DIRECTORY = '/sys/kernel/config/tsm/report';

/** The provider of reports on SNP guests. */
const PROVIDER = 'sev_guest';

/** What is used of the file system; one write is one system call, as binary attributes need. */
export interface AttributeFiles {
  exists(path: string): boolean;
  mkdir(path: string): void;
  rmdir(path: string): void;
  read(path: string): Uint8Array;
  write(path: string, bytes: Uint8Array): void;
}

const realFiles: AttributeFiles = {
  exists: existsSync,
  mkdir: (path) => mkdirSync(path, { mode: 0o700 }),
  rmdir: (path) => rmdirSync(path),
  read: (path) => new Uint8Array(readFileSync(path)),
  // Attributes that are written are not readable, and exist already: no O_RDWR, no O_CREAT.
  write: (path, bytes) => writeFileSync(path, bytes, { flag: constants.O_WRONLY as unknown as string }),
};

/** Errors after which the same request may succeed. */
const PASSING = new Set(['EBUSY', 'EAGAIN', 'EINTR']);

function codeOf(error: unknown): string {
  return String((error as NodeJS.ErrnoException | undefined)?.code ?? '');
}

/** Options of {@link TsmReports}; the defaults are the machine's own. */
export interface TsmOptions {
  readonly directory?: string;
  readonly files?: AttributeFiles;
  readonly patience?: Patience;
}

/** Asks for reports through configfs-tsm. Synchronous; each request has a directory of its own. */
export class TsmReports {
  readonly #directory: string;
  readonly #files: AttributeFiles;
  readonly #patience: Patience;

  constructor(options: TsmOptions = {}) {
    this.#directory = options.directory ?? TSM_REPORT_DIRECTORY;
    this.#files = options.files ?? realFiles;
    this.#patience = options.patience ?? DEFAULT_PATIENCE;
  }

  /** True when this kernel has the interface and configfs is mounted. */
  get available(): boolean {
    return this.#files.exists(this.#directory);
  }

  /**
   * A report over `reportData` (up to 64 bytes), for the caller's own VMPL unless `vmpl` asks for a less
   * privileged one.
   *
   * Throws HARDWARE_PSP_ABSENT, HARDWARE_PSP_BUSY, HARDWARE_PSP_REFUSED, HARDWARE_PSP_REPORT.
   */
  report(reportData: Uint8Array, vmpl?: number): HardwareReport {
    const padded = paddedReportData(reportData);
    return patiently(this.#patience, 'the security processor', () => {
      const entry = join(this.#directory, `nsgx-${process.pid}-${randomBytes(6).toString('hex')}`);
      this.#attempt('the report directory', () => this.#files.mkdir(entry));
      try {
        return this.#request(entry, padded, vmpl);
      } finally {
        // A directory that stays does no harm but to order; the report is what counts.
        try {
          this.#files.rmdir(entry);
        } catch {}
      }
    });
  }

  #request(entry: string, reportData: Uint8Array, vmpl: number | undefined): HardwareReport {
    const provider = this.#text(entry, 'provider');
    if (provider !== PROVIDER)
      throw new MachineError(
        'HARDWARE_PSP_ABSENT',
        `this guest's reports are made by '${provider.slice(0, 40)}', not by '${PROVIDER}'`,
        { advice: 'Run in an SEV-SNP guest.' },
      );
    const before = this.#generation(entry);
    let writes = 1n;
    if (vmpl !== undefined) {
      this.#checkFloor(entry, vmpl);
      this.#write(entry, 'privlevel', new TextEncoder().encode(String(vmpl)));
      writes++;
    }
    this.#write(entry, 'inblob', reportData);
    const report = this.#read(entry, 'outblob');
    const certificateTable = this.#optional(entry, 'auxblob') ?? new Uint8Array(0);
    const after = this.#generation(entry);
    if (after !== before + writes)
      throw new Busy(`the request was changed meanwhile (generation ${before} to ${after})`);
    return { report: checkReport(report, reportData, vmpl), certificateTable };
  }

  #checkFloor(entry: string, vmpl: number): void {
    const floor = this.#optional(entry, 'privlevel_floor');
    const text = floor === null ? '0' : new TextDecoder().decode(floor).trim();
    if (!/^\d$/.test(text) || vmpl < Number(text) || vmpl > 3 || !Number.isInteger(vmpl))
      throw new MachineError(
        'HARDWARE_PSP_REFUSED',
        `a report for VMPL ${vmpl} cannot be asked for here, where ${text.slice(0, 8)} to 3 can`,
      );
  }

  #generation(entry: string): bigint {
    const text = this.#text(entry, 'generation');
    if (!/^\d{1,20}$/.test(text))
      throw new MachineError('HARDWARE_PSP_REFUSED', `the generation reads '${text.slice(0, 40)}'`);
    return BigInt(text);
  }

  #text(entry: string, attribute: string): string {
    return new TextDecoder().decode(this.#read(entry, attribute)).trim();
  }

  #optional(entry: string, attribute: string): Uint8Array | null {
    return this.#files.exists(join(entry, attribute)) ? this.#read(entry, attribute) : null;
  }

  #read(entry: string, attribute: string): Uint8Array {
    return this.#attempt(attribute, () => this.#files.read(join(entry, attribute)));
  }

  #write(entry: string, attribute: string, bytes: Uint8Array): void {
    this.#attempt(attribute, () => this.#files.write(join(entry, attribute), bytes));
  }

  #attempt<T>(what: string, work: () => T): T {
    try {
      return work();
    } catch (error) {
      const code = codeOf(error);
      if (PASSING.has(code)) throw new Busy(`${what}: ${code}`);
      if (code === 'ENOENT' || code === 'ENXIO')
        throw new MachineError(
          'HARDWARE_PSP_ABSENT',
          `the kernel makes no attestation reports here (${what}: ${code})`,
          { cause: error, advice: 'Run in an SEV-SNP guest with Linux 6.7 or later and configfs mounted.' },
        );
      throw new MachineError('HARDWARE_PSP_REFUSED', `${what}: ${(error as Error).message}`, {
        cause: error,
        advice:
          code === 'EACCES' || code === 'EPERM'
            ? 'Run as root, or let your user into that directory.'
            : 'See the kernel log (dmesg) for what sev-guest says.',
      });
    }
  }
}
