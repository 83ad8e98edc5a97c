/** This package's native parts. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { loadLibrary, type NativeFunction, systemError } from '@nestedsgx/os';
import { vmError } from './errors.js';
import { PACKAGE } from './module-build.js';

interface VmLibrary {
  relayStart: NativeFunction;
  relayCounters: NativeFunction;
  relayStop: NativeFunction;
  socketpair: NativeFunction;
}

let loaded: VmLibrary | undefined;

/** The functions of libnsgx-vm.so. @throws OsError NATIVE_LIBRARY_MISSING */
export function vmLibrary(): VmLibrary {
  if (loaded) return loaded;
  const library = loadLibrary(join(PACKAGE, 'native', 'build', 'libnsgx-vm.so'));
  loaded = {
    relayStart: library.func(
      'int64_t nsgx_relay_start(uint64_t window, uint64_t bytes, uint64_t page, int32_t kick, int32_t irq)',
    ),
    relayCounters: library.func('int64_t nsgx_relay_counters(uint64_t relay, void *out)'),
    relayStop: library.func('int64_t nsgx_relay_stop(uint64_t relay)'),
    socketpair: library.func('int64_t nsgx_vm_socketpair(void *out)'),
  };
  return loaded;
}

/** Two connected stream sockets, close-on-exec. @throws OsError EMFILE */
export function streamPair(): [number, number] {
  const out = new Int32Array(2);
  const result: number = vmLibrary().socketpair(out);
  if (result < 0) throw systemError(-result, 'socketpair');
  return [out[0]!, out[1]!];
}

/** The program that is a guest's first process. @throws VM_PART_MISSING */
export function agentProgram(): string {
  return built('nsgx-agent', "the guest's first process");
}

/** The program that a guest's root user attacks with. @throws VM_PART_MISSING */
export function kitProgram(): string {
  return built('nsgx-kit', 'the kit of attacks');
}

/** A program that owns an enclave, for whoever wants to attack one. @throws VM_PART_MISSING */
export function victimProgram(): string {
  return built('nsgx-victim', 'the program that is attacked');
}

function built(name: string, what: string): string {
  const path = join(PACKAGE, 'native', 'build', name);
  if (!existsSync(path))
    throw vmError(
      'VM_PART_MISSING',
      `${what} is not built: ${path} is missing`,
      'run: npm run build (it needs a static C library; Debian has it in libc6-dev)',
    );
  return path;
}
