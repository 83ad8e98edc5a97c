/**
 * Real SGX hardware (or anything that offers the same device): `/dev/sgx_enclave` of Linux and the kernel's entry
 * function. Source: arch/x86/include/uapi/asm/sgx.h.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { secinfoBytes } from '@nestedsgx/arch';
import { ERRNO, type ErrnoName, SgxIoctlError } from '@nestedsgx/guest';
import { close, loadLibrary, mmap } from '@nestedsgx/os';
import { platformMissing } from '../errors.js';
import type { AddedPages, Exit, Feature, Platform, PlatformEnclave, UntrustedBlock } from '../platform.js';

const IOC = Object.freeze({
  CREATE: 0x4008_a400,
  ADD_PAGES: 0xc030_a401,
  INIT: 0x4008_a402,
  RESTRICT_PERMISSIONS: 0xc028_a405,
  MODIFY_TYPES: 0xc028_a406,
  REMOVE_PAGES: 0xc018_a407,
});
const PAGE = 4096;
const ARENA = 16 * 2 ** 20;
const EFAULT = 14;
/** Protections of a mapping. */
const PROT_RW = 3;

interface Native {
  open(path: string): number;
  ioctl(fd: number, request: number, argument: Uint8Array): number;
  reserve(bytes: number): number;
  map(fd: number, address: number, bytes: number, protection: number): number;
  unmap(address: number, bytes: number): number;
  vdso(): number;
  enter(vdso: number, leaf: number, rdi: number, rsi: number, run: Uint8Array): number;
}

function loadNative(): Native {
  const library = loadLibrary(
    fileURLToPath(new URL('../../../native/build/libnsgx-linux-sgx.so', import.meta.url)),
  );
  return {
    open: library.func('int64_t nsgx_sgx_open(const char *path)'),
    ioctl: library.func('int64_t nsgx_sgx_ioctl(int32_t fd, uint64_t request, void *argument)'),
    reserve: library.func('int64_t nsgx_sgx_reserve(uint64_t bytes)'),
    map: library.func('int64_t nsgx_sgx_map(int32_t fd, uint64_t address, uint64_t bytes, int32_t prot)'),
    unmap: library.func('int64_t nsgx_sgx_unmap(uint64_t address, uint64_t bytes)'),
    vdso: library.func('uint64_t nsgx_sgx_vdso()'),
    enter: library.func(
      'int64_t nsgx_sgx_enter(uint64_t vdso, uint32_t fn, uint64_t rdi, uint64_t rsi, void *run)',
    ),
  } as Native;
}

const NAMES = new Map<number, ErrnoName>(
  Object.entries(ERRNO).map(([name, number]) => [number, name as ErrnoName]),
);

const EEXIT = 4;

function checked(result: number, what: string): number {
  if (result >= 0) return result;
  throw new SgxIoctlError(NAMES.get(-result) ?? 'EIO', `${what} failed with errno ${-result}`);
}

/** Flags of this processor that matter here, from /proc/cpuinfo. */
function cpuFeatures(): Set<Feature> {
  const flags = new Set(
    (/^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'latin1'))?.[1] ?? '').trim().split(/\s+/),
  );
  const out = new Set<Feature>(['exinfo', 'kss']);
  if (flags.has('sgx2')) out.add('sgx2');
  if (flags.has('sgx_edeccssa')) out.add('edeccssa');
  return out;
}

/** SGX through a Linux device. */
export class LinuxPlatform implements Platform {
  readonly name: string;
  readonly features: ReadonlySet<Feature>;
  readonly #native: Native;
  readonly #device: string;
  readonly #vdso: number;
  readonly #arena: { address: number; bytes: Uint8Array; unmap(): void };
  #used = 0;

  /** @throws CONFORMANCE_PLATFORM without device or kernel support */
  constructor(device = '/dev/sgx_enclave') {
    this.#native = loadNative();
    this.#device = device;
    this.name = device;
    const fd = this.#native.open(device);
    if (fd < 0)
      throw platformMissing(
        `${device} cannot be opened (errno ${-fd})`,
        'run on a machine with SGX, with flexible launch control, as a user that may open the device',
      );
    close(fd);
    this.#vdso = this.#native.vdso();
    if (this.#vdso === 0)
      throw platformMissing('the kernel has no __vdso_sgx_enter_enclave', 'use Linux 5.11 or later');
    this.features = cpuFeatures();
    this.#arena = mmap({ length: ARENA, prot: 'rw', shared: false });
  }

  allocate(bytes: number): UntrustedBlock {
    const length = Math.ceil(bytes / 128) * 128;
    if (this.#used + length > ARENA) this.#used = 0;
    const at = this.#used;
    this.#used += length;
    return { address: this.#arena.address + at, bytes: this.#arena.bytes.subarray(at, at + bytes) };
  }

  open(size: number): PlatformEnclave {
    const fd = checked(this.#native.open(this.#device), `opening ${this.#device}`);
    const base = this.#native.reserve(size);
    if (base < 0) close(fd);
    checked(base, 'reserving a linear range');
    return new LinuxEnclave(this.#native, this.#vdso, fd, base, size);
  }

  async close(): Promise<void> {
    this.#arena.unmap();
  }
}

class LinuxEnclave implements PlatformEnclave {
  readonly #run = new Uint8Array(256);

  constructor(
    private readonly native: Native,
    private readonly vdso: number,
    private readonly fd: number,
    readonly base: number,
    private readonly size: number,
  ) {}

  #ioctl(request: number, what: string, fields: (number | Uint8Array)[]): BigUint64Array {
    const words = new BigUint64Array(fields.length);
    // The kernel reads through these addresses: page-aligned copies that stay until the call has returned.
    const held = fields.map((field, i) => {
      if (typeof field === 'number') {
        words[i] = BigInt(field);
        return null;
      }
      const block = mmap({ length: Math.ceil(field.length / PAGE) * PAGE, prot: 'rw', shared: false });
      block.bytes.set(field);
      words[i] = BigInt(block.address);
      return block;
    });
    try {
      const result = this.native.ioctl(this.fd, request, new Uint8Array(words.buffer));
      checked(result, what);
      if (result > 0) throw new SgxIoctlError('EPERM', `${what} returned the SGX code ${result}`);
      return words;
    } finally {
      for (const block of held) block?.unmap();
    }
  }

  create(secs: Uint8Array): void {
    this.#ioctl(IOC.CREATE, 'SGX_IOC_ENCLAVE_CREATE', [secs]);
  }

  add({ offset, data, flags, measured }: AddedPages): void {
    this.#ioctl(IOC.ADD_PAGES, 'SGX_IOC_ENCLAVE_ADD_PAGES', [
      data,
      offset,
      data.length,
      secinfoBytes(flags),
      measured ? 1 : 0,
      0,
    ]);
    const protection = flags >> 8 === 1 ? PROT_RW : flags & 7;
    checked(this.native.map(this.fd, this.base + offset, data.length, protection), 'mapping the pages');
  }

  init(sigstruct: Uint8Array): void {
    this.#ioctl(IOC.INIT, 'SGX_IOC_ENCLAVE_INIT', [sigstruct]);
  }

  restrictPermissions(offset: number, length: number, permissions: number): void {
    this.#ioctl(IOC.RESTRICT_PERMISSIONS, 'SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS', [
      offset,
      length,
      permissions,
      0,
      0,
    ]);
  }

  modifyTypes(offset: number, length: number, type: number): void {
    this.#ioctl(IOC.MODIFY_TYPES, 'SGX_IOC_ENCLAVE_MODIFY_TYPES', [offset, length, type, 0, 0]);
  }

  removePages(offset: number, length: number): void {
    this.#ioctl(IOC.REMOVE_PAGES, 'SGX_IOC_ENCLAVE_REMOVE_PAGES', [offset, length, 0]);
  }

  protect(offset: number, length: number, protection: number): void {
    checked(this.native.map(this.fd, this.base + offset, length, protection), 'mapping the pages');
  }

  enter(tcs: number, leaf: number, rdi: number): Exit {
    const run = new DataView(this.#run.buffer);
    this.#run.fill(0);
    run.setBigUint64(0, BigInt(this.base + tcs), true);
    const result = this.native.enter(this.vdso, leaf, rdi, 0, this.#run);
    // The vDSO says in `function` how the entry ended: EEXIT, or the leaf that faulted. Its first versions returned -EFAULT.
    const ended = run.getUint32(8, true);
    if (result === 0 && ended === EEXIT) return { kind: 'exit', rdi };
    if (result !== 0 && result !== -EFAULT)
      throw new SgxIoctlError('EINVAL', `entering the enclave returned ${result}`);
    return {
      kind: 'exception',
      leaf: ended,
      vector: run.getUint16(12, true),
      errorCode: run.getUint16(14, true),
      address: Number(run.getBigUint64(16, true)),
    };
  }

  close(): void {
    this.native.unmap(this.base, this.size);
    close(this.fd);
  }
}
