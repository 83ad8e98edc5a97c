import { type CallPool, close, sendFds } from '@nestedsgx/os';
import type { ExitInfo } from '../src/host/index.js';
import { DESCRIPTOR_CALL } from '../src/layout/memory.js';
import { assemble, enclu } from './assemble.js';
import { AT, type BenchMachine, type EnclaveOptions, type TestEnclave } from './bench-machine.js';

/** gPA of what the calls below use: the call, then 64 KiB for its arguments' memory. */
const CALL_GPA = 0xc0_0000;
export const MEMORY_GPA = CALL_GPA + 0x1000;

/** Makes the system call whose number and arguments lie where RDI points, at the address in RSI; exits with its result. */
const CODE = `
  lea _start+${AT.DATA + 0x3000 - AT.CODE}(%rip),%rsp
  mov %rdi,%r12
  mov %rsi,%rbx
  mov (%r12),%rax
  mov 8(%r12),%rdi
  mov 16(%r12),%rsi
  mov 24(%r12),%rdx
  mov 32(%r12),%r10
  mov 40(%r12),%r8
  mov 48(%r12),%r9
  call *%rbx
  mov %rax,%rdi
  mov %r12,%rsi
  ${enclu(4)}`;

/** An enclave that makes any system call it is told to, at the call on host descriptors or elsewhere in the runner. */
export class SystemCalls {
  readonly enclave: TestEnclave;
  readonly #machine: BenchMachine;
  readonly #grants: number | null;
  #granted = 0;

  constructor(machine: BenchMachine, options: Partial<EnclaveOptions> = {}) {
    this.#machine = machine;
    this.enclave = machine.start({ code: assemble(CODE), descriptors: true, ...options });
    this.#grants = this.enclave.running.takeGrants();
  }

  /** Address of `offset` in the memory for arguments, as host and enclave have it. */
  at(offset: number): number {
    return this.#machine.base + MEMORY_GPA + offset;
  }

  /** The memory for arguments. */
  memory(offset: number, length: number): Uint8Array {
    const { bytes } = this.#machine.ram;
    return bytes.subarray(MEMORY_GPA + offset, MEMORY_GPA + offset + length);
  }

  words(offset: number, values: readonly (number | bigint)[]): void {
    const { buffer, byteOffset } = this.#machine.ram.bytes;
    const view = new DataView(buffer, byteOffset + MEMORY_GPA + offset);
    for (const [i, value] of values.entries())
      view.setBigUint64(i * 8, BigInt.asUintN(64, BigInt(value)), true);
  }

  #arguments(number: number, args: readonly (number | bigint)[]): void {
    this.words(CALL_GPA - MEMORY_GPA, [number, ...args, 0, 0, 0, 0, 0, 0].slice(0, 7));
  }

  /** Result of a call, or the exception that it ended in. */
  call(number: number, args: readonly (number | bigint)[], where = DESCRIPTOR_CALL): number | ExitInfo {
    this.#arguments(number, args);
    const { gate } = this.enclave;
    const exit = gate.exit(gate.enter(this.#machine.base + CALL_GPA, where));
    return exit.kind === 'EEXIT' ? Number(BigInt.asIntN(64, exit.rdi)) : exit;
  }

  /** The same from another thread of this process: the call may block. */
  start(pool: CallPool, number: number, args: readonly (number | bigint)[]): Promise<ExitInfo> {
    this.#arguments(number, args);
    const rdi = this.#machine.base + CALL_GPA;
    return this.enclave.gate.enterAsync(pool, 2, { rdi, rsi: DESCRIPTOR_CALL });
  }

  /** Grants a descriptor, has it received, and returns recvmsg's result and the number (-1 for none). */
  grant(fd: number): { result: number | ExitInfo; name: bigint; number: number } {
    if (this.#grants === null) throw new Error('no grant socket');
    const name = new BigUint64Array([BigInt(++this.#granted)]);
    sendFds(this.#grants, new Uint8Array(name.buffer), [fd]);
    return this.receive();
  }

  /** recvmsg on `socket` (the grant socket) with room for one descriptor. */
  receive(socket = 5): { result: number | ExitInfo; name: bigint; number: number } {
    // msghdr at 0, iovec at 64, control at 128, data at 192.
    this.words(0, [0, 0, this.at(64), 1, this.at(128), 24, 0, 0, this.at(192), 8]);
    this.words(128, [0, 0, -1, 0, 0, 0, 0, 0, 0]);
    const result = this.call(47, [socket, this.at(0), 0x40]);
    const bytes = this.memory(0, 256);
    const view = new DataView(bytes.buffer, bytes.byteOffset, 256);
    return { result, name: view.getBigUint64(192, true), number: view.getInt32(128 + 16, true) };
  }

  close(): void {
    if (this.#grants !== null) close(this.#grants);
    this.enclave.close();
  }
}
