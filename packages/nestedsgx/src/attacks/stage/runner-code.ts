/** What an attacker knows of the runner: its file is public. */
import { readFileSync } from 'node:fs';
import { findInstallation } from '@nestedsgx/sdk';

const PT_LOAD = 1;
const PF_X = 1;

/** Addresses of instructions in the runner's code. */
export interface RunnerCode {
  /** Addresses of SYSCALL (0F 05), with the number that is loaded right before it, if any. */
  syscalls: { address: number; number: number | null }[];
  /** Addresses of INT 0x80. */
  int80: number[];
}

/** Finds them in the ELF file that the launcher hands to the machine. */
export function runnerCode(path = findInstallation().runner): RunnerCode {
  const file = readFileSync(path);
  const code: RunnerCode = { syscalls: [], int80: [] };
  const table = Number(file.readBigUInt64LE(32));
  for (let i = 0; i < file.readUInt16LE(56); i++) {
    const at = table + i * file.readUInt16LE(54);
    if (file.readUInt32LE(at) !== PT_LOAD || (file.readUInt32LE(at + 4) & PF_X) === 0) continue;
    const offset = Number(file.readBigUInt64LE(at + 8));
    const address = Number(file.readBigUInt64LE(at + 16));
    const size = Number(file.readBigUInt64LE(at + 32));
    for (let k = 0; k + 1 < size; k++) {
      const opcode = file.readUInt16BE(offset + k);
      if (opcode === 0x0f05)
        code.syscalls.push({ address: address + k, number: numberBefore(file, offset + k) });
      if (opcode === 0xcd80) code.int80.push(address + k);
    }
  }
  return code;
}

/** `mov $n, %eax; mov %rcx, %r10; syscall`: the number, or null for other code. */
function numberBefore(file: Buffer, at: number): number | null {
  const moved = file.subarray(at - 3, at).equals(Buffer.from([0x49, 0x89, 0xca]));
  return moved && file[at - 8] === 0xb8 ? file.readUInt32LE(at - 7) : null;
}
