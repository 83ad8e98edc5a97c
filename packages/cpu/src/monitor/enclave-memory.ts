import type { EnclaveMemory } from '@nestedsgx/arch';
import { close, fallocate, memfdCreate, pread, punchHole, pwrite } from '@nestedsgx/os';
import { CpuError } from '../errors.js';
import type { CodePatches } from './patches.js';

const PAGE = 4096;

/**
 * An enclave's pages: one sealed sparse memory file that only the monitor's process and one runner ever hold;
 * offset = linear address − BASEADDR.
 */
export class MemfdEnclaveMemory implements EnclaveMemory {
  /** Bytes of the ELRANGE. */
  readonly size: number;
  /** Patches in code pages while the enclave runs; nobody but the enclave sees them. */
  patches: CodePatches | null = null;
  #fd: number;

  /** @throws CpuError PROCESSOR_ARGUMENT when `size` is not a positive multiple of 4096; OsError */
  constructor(size: number) {
    if (!Number.isSafeInteger(size) || size <= 0 || size % PAGE !== 0)
      throw new CpuError('PROCESSOR_ARGUMENT', `An enclave memory of ${size} bytes cannot be made.`);
    this.size = size;
    this.#fd = memfdCreate('nsgx-epc', { size, seal: true });
  }

  /** Descriptor of the memory file. @throws CpuError ENCLAVE_STOPPED after close */
  get fd(): number {
    if (this.#fd < 0) throw new CpuError('ENCLAVE_STOPPED', 'The enclave memory was given back.');
    return this.#fd;
  }

  read(offset: number, length: number): Uint8Array {
    const bytes = this.readMapped(offset, length);
    this.patches?.undo(offset, bytes);
    return bytes;
  }

  readInto(offset: number, into: Uint8Array): void {
    this.#fill(offset, into);
    this.patches?.undo(offset, into);
  }

  /** As {@link read}, with patches: what the enclave's threads see. */
  readMapped(offset: number, length: number): Uint8Array {
    this.#check(offset, length);
    // Every byte is read, so none needs to be cleared before: the file cannot shrink.
    const bytes = new Uint8Array(Buffer.allocUnsafeSlow(length).buffer);
    this.#fill(offset, bytes);
    return bytes;
  }

  #fill(offset: number, bytes: Uint8Array): void {
    const { length } = bytes;
    this.#check(offset, length);
    for (let done = 0; done < length; ) {
      const n = pread(this.fd, done === 0 ? bytes : bytes.subarray(done), offset + done);
      if (n === 0) {
        bytes.fill(0, done);
        break;
      }
      done += n;
    }
  }

  write(offset: number, bytes: Uint8Array): void {
    this.#check(offset, bytes.byteLength);
    if (bytes.byteLength === 0) return;
    const { patches } = this;
    if (patches?.any(offset, bytes.byteLength)) {
      const end = offset + bytes.byteLength;
      const wholeFrom = Math.ceil(offset / PAGE) * PAGE;
      const wholeTo = Math.floor(end / PAGE) * PAGE;
      if (wholeFrom < wholeTo) patches.forget(wholeFrom, wholeTo - wholeFrom);
      patches.interrupt(offset, end - offset);
      patches.restore(offset, end - offset);
    }
    pwrite(this.fd, bytes, offset);
  }

  /** Puts back what {@link readMapped} read. */
  writeMapped(offset: number, bytes: Uint8Array): void {
    this.#check(offset, bytes.byteLength);
    pwrite(this.fd, bytes, offset);
  }

  reserve(offset: number, length: number): void {
    this.#check(offset, length);
    if (length > 0) fallocate(this.fd, offset, length);
  }

  discard(offset: number, length: number): void {
    this.#check(offset, length);
    if (length <= 0) return;
    punchHole(this.fd, offset, length);
    this.patches?.forget(offset, length);
  }

  /** Takes the pages out of every address space without forgetting their patches. */
  punch(offset: number, length: number): void {
    this.#check(offset, length);
    punchHole(this.fd, offset, length);
  }

  close(): void {
    if (this.#fd < 0) return;
    const fd = this.#fd;
    this.#fd = -1;
    this.patches = null;
    close(fd);
  }

  #check(offset: number, length: number): void {
    if (!Number.isSafeInteger(offset) || offset < 0 || length < 0 || offset + length > this.size)
      throw new CpuError(
        'PROCESSOR_ARGUMENT',
        `${length} bytes at offset ${offset} leave the enclave memory of ${this.size} bytes.`,
      );
  }
}
