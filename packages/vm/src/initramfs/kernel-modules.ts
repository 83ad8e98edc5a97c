/** The modules of a kernel: finding one by name, and what it needs. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { vmError } from '../errors.js';

const SUFFIX = /\.ko(?:\.(?:gz|xz|zst))?$/;
const OUTPUT_LIMIT = 256 * 2 ** 20;

/** One module: its bytes, uncompressed. */
export interface KernelModule {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** The modules below a folder such as /lib/modules/VERSION. */
export class KernelModules {
  readonly #folder: string;
  readonly #files = new Map<string, string>();
  readonly #builtin = new Set<string>();

  constructor(folder: string) {
    this.#folder = folder;
    const kernel = join(folder, 'kernel');
    if (existsSync(kernel))
      for (const path of readdirSync(kernel, { recursive: true, encoding: 'utf8' }))
        if (SUFFIX.test(path)) this.#files.set(nameOf(path), join(kernel, path));
    const list = join(folder, 'modules.builtin');
    if (existsSync(list))
      for (const line of readFileSync(list, 'utf8').split('\n')) this.#builtin.add(nameOf(line));
  }

  /**
   * These modules and all that they need, each behind what it needs; what is built into the kernel is left out.
   * @throws VM_MODULE_MISSING, VM_PROGRAM_MISSING when a program that uncompresses is missing
   */
  withNeeds(names: readonly string[]): KernelModule[] {
    const done = new Map<string, KernelModule>();
    const visiting = new Set<string>();
    const visit = (name: string) => {
      if (done.has(name) || visiting.has(name) || this.#builtin.has(name)) return;
      visiting.add(name);
      const module_ = this.#read(name);
      for (const need of needsOf(module_.bytes)) visit(need);
      done.set(name, module_);
    };
    for (const name of names) visit(nameOf(name));
    return [...done.values()];
  }

  #read(name: string): KernelModule {
    const path = this.#files.get(name);
    if (path === undefined)
      throw vmError(
        'VM_MODULE_MISSING',
        `the kernel has no module ${name} (looked below ${this.#folder})`,
        'use a Debian kernel: apt install linux-image-cloud-amd64',
      );
    return { name, bytes: uncompress(path) };
  }
}

/** A module's name as the kernel writes it, from its file or any spelling. */
function nameOf(path: string): string {
  return path.replace(/^.*\//, '').replace(SUFFIX, '').replaceAll('-', '_');
}

/** The names in the "depends" line of a module's .modinfo section. */
export function needsOf(bytes: Uint8Array): string[] {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const at = buffer.indexOf('\0depends=');
  if (at < 0) return [];
  const start = at + '\0depends='.length;
  const text = buffer.toString('latin1', start, buffer.indexOf(0, start));
  return text === '' ? [] : text.split(',').map(nameOf);
}

function uncompress(path: string): Uint8Array {
  if (path.endsWith('.ko')) return readFileSync(path);
  if (path.endsWith('.gz')) return gunzipSync(readFileSync(path));
  const program = path.endsWith('.xz') ? 'xz' : 'zstd';
  const result = spawnSync(program, ['-dcq', path], { maxBuffer: OUTPUT_LIMIT });
  if (result.error || result.status !== 0)
    throw vmError(
      'VM_PROGRAM_MISSING',
      `${program} cannot uncompress the kernel module ${path}`,
      `apt install ${program === 'xz' ? 'xz-utils' : 'zstd'}`,
      result.error,
    );
  return result.stdout;
}
