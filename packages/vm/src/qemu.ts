/** QEMU's command line and its process. */
import { Socket } from 'node:net';
import { close, pidfdSignal, spawn, waitPid } from '@nestedsgx/os';
import { vmError } from './errors.js';
import { streamPair } from './native.js';

/** How the guest's processor runs: QEMU's own emulation, the kernel's hypervisor, or the latter where it works. */
export type Accelerator = 'tcg' | 'kvm' | 'auto';

/** Ports that the guest module knows from the info page: kicks go out, interrupts come in. */
export const KICK_PORT = 0x4e4;
export const IRQ_PORT = 0x280;
export const IRQ_NUMBER = 5;

/** Descriptors of QEMU's process. */
const FDS = Object.freeze({ ram: 3, initrd: 4, console: 5, agent: 6, kick: 7, irq: 8 });
const SIGKILL = 9;
const ERRORS_KEPT = 16_384;

export interface MachineShape {
  accel: 'tcg' | 'kvm';
  cpu: string;
  ramBytes: number;
  vcpus: number;
  kernel: string;
  commandLine: string;
}

/** The arguments for a machine; descriptors are at FDS. */
export function qemuArguments(shape: MachineShape): string[] {
  const { accel, cpu, ramBytes, vcpus, kernel, commandLine } = shape;
  const socket = (id: string, fd: number) => ['-chardev', `socket,id=${id},fd=${fd}`];
  return [
    ...['-accel', accel],
    // With room for one processor only, TCG makes no atomic instructions, and those of enclaves go unnoticed.
    ...['-cpu', cpu, '-smp', `${vcpus},maxcpus=${Math.max(2, vcpus)}`],
    ...['-m', `${ramBytes / 2 ** 20}M`],
    ...['-object', `memory-backend-file,id=ram,size=${ramBytes},mem-path=/proc/self/fd/${FDS.ram},share=on`],
    ...['-machine', 'pc,memory-backend=ram,vmport=off'],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    ...['-kernel', kernel, '-initrd', `/proc/self/fd/${FDS.initrd}`, '-append', commandLine],
    ...socket('console', FDS.console),
    ...['-device', 'isa-serial,chardev=console'],
    ...socket('agent', FDS.agent),
    ...[
      '-device',
      'virtio-serial-pci,max_ports=2',
      '-device',
      'virtserialport,chardev=agent,name=nsgx.agent',
    ],
    ...socket('kick', FDS.kick),
    ...['-device', `isa-debugcon,iobase=${KICK_PORT},chardev=kick`],
    ...socket('irq', FDS.irq),
    ...['-device', `isa-serial,iobase=${IRQ_PORT},irq=${IRQ_NUMBER},chardev=irq`],
  ];
}

/** A QEMU process and the host's ends of its sockets. */
export interface QemuProcess {
  readonly pid: number;
  readonly console: Socket;
  readonly agent: Socket;
  /** Raw descriptors, for the relay; the caller owns them. */
  readonly kick: number;
  readonly irq: number;
  /** What QEMU wrote to its streams. */
  errors(): string;
  /** Resolved when the process has ended. */
  readonly ended: Promise<void>;
  /** Ends it at once. */
  kill(): void;
}

/**
 * Starts QEMU. It ends with this process, whatever happens. `fds.ram` and `fds.initrd` stay the caller's.
 * @throws VM_START_FAILED
 */
export function startQemu(
  program: string,
  args: readonly string[],
  fds: { ram: number; initrd: number },
): QemuProcess {
  const pairs: [number, number][] = [];
  const pair = () => {
    pairs.push(streamPair());
    return pairs.at(-1)!;
  };
  const [console_, agent, kick, irq, errors] = [pair(), pair(), pair(), pair(), pair()];
  let process_: { pid: number; pidfd: number };
  try {
    process_ = spawn({
      executable: program,
      argv: [program, ...args],
      env: ['PATH=/usr/bin:/bin', 'LC_ALL=C'],
      cwd: '/',
      fds: [
        [1, errors[1]],
        [2, errors[1]],
        [FDS.ram, fds.ram],
        [FDS.initrd, fds.initrd],
        [FDS.console, console_[1]],
        [FDS.agent, agent[1]],
        [FDS.kick, kick[1]],
        [FDS.irq, irq[1]],
      ],
      deathSignal: SIGKILL,
      dropCapabilities: true,
      noNewPrivileges: true,
      noCore: true,
    });
  } catch (cause) {
    for (const [ours] of pairs) close(ours);
    throw vmError(
      'VM_START_FAILED',
      `QEMU could not be started: ${(cause as Error).message}`,
      undefined,
      cause,
    );
  } finally {
    for (const [, theirs] of pairs) close(theirs);
  }
  const { pid, pidfd } = process_;
  const open = (fd: number) => new Socket({ fd, readable: true, writable: true });
  const errorStream = open(errors[0]);
  let text = '';
  errorStream.on('data', (chunk) => {
    text = (text + chunk.toString('latin1')).slice(-ERRORS_KEPT);
  });
  errorStream.on('error', () => undefined);
  const streams = { console: open(console_[0]), agent: open(agent[0]) };
  // Nobody but QEMU has the other ends, so their close is QEMU's end; by then all that it sent has been read.
  const closed = [errorStream, streams.console, streams.agent].map(
    (stream) => new Promise<void>((resolve) => stream.once('close', resolve)),
  );
  const ended = Promise.all(closed).then(async () => {
    while (waitPid(pid, true) === null) if (!(await stillThere(pid))) break;
    close(pidfd);
    over = true;
  });
  let over = false;
  return {
    pid,
    ...streams,
    kick: kick[0],
    irq: irq[0],
    errors: () => text.trim(),
    ended,
    kill: () => {
      if (over) return;
      try {
        pidfdSignal(pidfd, SIGKILL);
      } catch {
        // It has ended in between.
      }
    },
  };
}

async function stillThere(pid: number): Promise<boolean> {
  await new Promise<void>((resolve) => setTimeout(resolve, 1));
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
