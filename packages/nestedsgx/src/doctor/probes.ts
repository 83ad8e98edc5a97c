/** How `nsgx doctor` looks at the machine. Each function can be replaced, so that tests can show what is missing. */
import { accessSync, constants, existsSync, readFileSync, statSync } from 'node:fs';
import { release, totalmem } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import {
  NativeProcessor,
  type RunnerFacts,
  readRunnerProgram,
  sealRunnerProgram,
} from '@nestedsgx/cpu/monitor';
import { findToolchain } from '@nestedsgx/enclave';
import { close, getRlimit, memfdCreate, pidfdOpen, uffdSupported, usableCpus } from '@nestedsgx/os';
import { defaultStateDir } from '@nestedsgx/sdk';
import { describeGuests, missingForGuests } from '@nestedsgx/vm';
import { type LaunchTest, testLaunch } from './launch-test.js';

/** Owner and permissions of a path; `mode` holds the permission bits only. */
export interface PathFacts {
  readonly uid: number;
  readonly mode: number;
  readonly directory: boolean;
}

/** Everything the doctor asks of the machine. A probe that throws becomes a missing row with its message. */
export interface Probes {
  readonly platform: string;
  readonly arch: string;
  readonly nodeVersion: string;
  readonly uid: number;
  readonly stateDir: string;
  kernelRelease(): string;
  /** AT_HWCAP2 of this process. */
  hwcap2(): number;
  /** A small text file, or undefined when it cannot be read. */
  text(path: string): string | undefined;
  exists(path: string): boolean;
  /** Facts of a path, or undefined when it does not exist. */
  path(path: string): PathFacts | undefined;
  /** True when this user may make `path`: the nearest directory above it that exists can be written. */
  canMake(path: string): boolean;
  totalMemory(): number;
  usableCpus(): readonly number[];
  userfaultfd(): { supported: true } | { supported: false; reason: string };
  /** Makes an executable memory file. @throws when that is refused */
  executableMemoryFile(): void;
  /** Opens a pidfd of this process. @throws when that is refused */
  pidfd(): void;
  openFiles(): { soft: number; hard: number };
  /** Starts one runner without an enclave and asks what it found. @throws when it refuses to start */
  runner(): RunnerFacts;
  /** gcc and ld in one line. @throws when there is none that can be used */
  toolchain(): Promise<string>;
  /** True when a command of this name is on the PATH. */
  command(name: string): boolean;
  /** What Linux guests would be booted with, and what is missing for that. */
  guests(): Promise<{ found: string; missing: readonly { what: string; cure: string }[] }>;
  /** Launches a machine, loads the sample, calls and attests it. @throws what stands in the way */
  launch(): Promise<LaunchTest>;
}

const AT_HWCAP2 = 26n;

/** Probes of this machine. */
export function machineProbes(): Probes {
  return {
    platform: process.platform,
    arch: process.arch,
    nodeVersion: process.versions.node,
    uid: process.getuid?.() ?? -1,
    stateDir: defaultStateDir(),
    kernelRelease: release,
    hwcap2: readHwcap2,
    text: readText,
    exists: existsSync,
    path: pathFacts,
    canMake,
    totalMemory: totalmem,
    usableCpus: () => usableCpus(),
    userfaultfd: uffdSupported,
    executableMemoryFile: () => close(memfdCreate('nsgx-doctor', { size: 4096, exec: true })),
    pidfd: () => close(pidfdOpen(process.pid)),
    openFiles: () => getRlimit('NOFILE'),
    runner: askRunner,
    toolchain: async () => {
      const { gccVersion, ldVersion } = await findToolchain();
      return `${gccVersion}; ${ldVersion}`;
    },
    command: (name) =>
      (process.env.PATH ?? '').split(delimiter).some((dir) => dir !== '' && existsSync(join(dir, name))),
    guests: async () => ({ found: await describeGuests(), missing: missingForGuests() }),
    launch: testLaunch,
  };
}

/** AT_HWCAP2 from the auxiliary vector: pairs of 64-bit words, type and value. */
function readHwcap2(): number {
  const bytes = readFileSync('/proc/self/auxv');
  for (let at = 0; at + 16 <= bytes.length; at += 16)
    if (bytes.readBigUInt64LE(at) === AT_HWCAP2) return Number(bytes.readBigUInt64LE(at + 8));
  return 0;
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

function pathFacts(path: string): PathFacts | undefined {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat === undefined
    ? undefined
    : { uid: stat.uid, mode: stat.mode & 0o777, directory: stat.isDirectory() };
}

function canMake(path: string): boolean {
  let above = dirname(path);
  while (!existsSync(above) && above !== dirname(above)) above = dirname(above);
  try {
    accessSync(above, constants.W_OK | constants.X_OK);
    return statSync(above).isDirectory();
  } catch {
    return false;
  }
}

function askRunner(): RunnerFacts {
  const runnerFd = sealRunnerProgram(readRunnerProgram());
  const processor = new NativeProcessor({ ramFd: -1, ramBase: 0, ramBytes: 0, doorbell: 0, runnerFd });
  try {
    return processor.facts();
  } finally {
    processor.close();
    close(runnerFd);
  }
}
