/** An enclave project on disk: enclave.json, interface.json, src/. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type InterfaceDescription, type ParsedEdl, parseInterfaceSource } from '@nestedsgx/edl';
import { z } from 'zod';
import { readEdl } from './edl-file.js';
import { enclaveError } from './errors.js';

const configSchema = z.strictObject({
  /** Name of the enclave and of its files. */
  name: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'is not a plain file name'),
  /** Number of TCSs: so many calls may be inside at once. */
  threads: z.int().min(1).max(1024).default(4),
  /** Threads that there is room for: those above `threads` can be added at run time. */
  maxThreads: z.int().min(1).max(1024).optional(),
  /** Pages of heap (4 KiB each). */
  heapPages: z.int().min(1).max(4_194_304).default(64),
  /** Pages that the heap may grow to at run time; `heapPages` if not given. */
  heapMaxPages: z.int().min(1).max(4_194_304).optional(),
  /** Pages below its code that stay empty. An enclave that is placed at address 0 has none below 64 KiB. */
  emptyPages: z.int().min(1).max(4096).default(1),
  /** Whether heap pages are measured; the runtime never relies on what they hold, so large heaps may go without. */
  heapMeasured: z.boolean().default(true),
  /** Pages of stack of each thread. */
  stackPages: z.int().min(4).max(4096).default(16),
  /** SSA frames of each thread (NSSA). */
  ssaFrames: z.int().min(2).max(8).default(3),
  /** The interface file, relative to the project: JSON, or EDL for an enclave in Intel's format. */
  interface: z.string().default('interface.json'),
  /** Folders with EDL files that the interface imports, relative to the project. */
  edlSearchPath: z.array(z.string()).max(64).default([]),
  /** Sizes of types of C headers that the EDL file names, for its host (ForeignType of package edl). */
  edlTypes: z.record(z.string(), z.json()).default({}),
  /** Folders with .c and .S files, relative to the project. */
  sources: z.array(z.string()).min(1).default(['src']),
  /** Folders with headers, relative to the project. */
  includes: z.array(z.string().min(1)).max(64).default([]),
  /** Further compiler options, such as -mavx2 or -DNAME. */
  cflags: z
    .array(z.string().regex(/^-[DUmOfW][^\n]*$/, 'is not a -D, -U, -m, -O, -f or -W option'))
    .max(64)
    .default([]),
  isvProdId: z.int().min(0).max(65535).default(0),
  isvSvn: z.int().min(0).max(65535).default(0),
  /** Whether the signature shall ask for ATTRIBUTES.DEBUG. */
  debug: z.boolean().default(false),
  /** Further ATTRIBUTES. */
  attributes: z
    .strictObject({ provisionKey: z.boolean().default(false), kss: z.boolean().default(false) })
    .default({ provisionKey: false, kss: false }),
  /** Vector registers that the code may use; asks for them in XFRM and allows the compiler to use them. */
  vectors: z.enum(['sse', 'avx', 'avx512']).default('sse'),
  /** SECS.MISCSELECT; 1 (EXINFO) lets handlers see the details of #PF and #GP. */
  miscselect: z.int().min(0).max(1).default(1),
});

/** The settings of enclave.json with every default filled in. */
export type EnclaveConfig = z.output<typeof configSchema>;
/** Settings as an author writes them. */
export type EnclaveConfigInput = z.input<typeof configSchema>;

/** A project that was read and checked. */
export interface EnclaveProject {
  /** Absolute path of the project. */
  readonly dir: string;
  readonly config: EnclaveConfig;
  /** The interface, where it is a JSON file. */
  readonly interface?: InterfaceDescription;
  /** The interface, where it is an EDL file. */
  readonly edl?: ParsedEdl;
  /** Source files relative to `dir`, sorted. */
  readonly sources: readonly string[];
}

function readJson(path: string): unknown {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw enclaveError('PROJECT_FILE', `cannot read ${path}`, {
      cause,
      advice: 'Give the folder of an enclave project; `nsgx new DIR` makes one.',
    });
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw enclaveError('PROJECT_INVALID', `${path} is not JSON: ${(cause as Error).message}`, { cause });
  }
}

/** Source files under `folder`, relative to `dir`, sorted by code unit: their order decides the link order. */
function listSources(dir: string, folder: string): string[] {
  const found: string[] = [];
  const walk = (relative: string, depth: number) => {
    if (depth > 16) return;
    let entries: import('node:fs').Dirent[];
    try {
      entries = readdirSync(join(dir, relative), { withFileTypes: true });
    } catch (cause) {
      throw enclaveError('PROJECT_FILE', `cannot read the source folder ${join(dir, relative)}`, { cause });
    }
    for (const entry of entries) {
      const path = `${relative}/${entry.name}`;
      if (entry.isDirectory()) walk(path, depth + 1);
      else if (/\.(c|S)$/.test(entry.name)) found.push(path);
    }
  };
  walk(folder.replace(/\/+$/, ''), 0);
  return found.sort();
}

/**
 * Reads a project. `overrides` replace settings of enclave.json.
 *
 * Throws PROJECT_FILE, PROJECT_INVALID, PROJECT_NO_SOURCES, INTERFACE_INVALID, INTERFACE_NAME, EdlError.
 */
export function readProject(dir: string, overrides: Partial<EnclaveConfigInput> = {}): EnclaveProject {
  const root = resolve(dir);
  const path = join(root, 'enclave.json');
  const raw = readJson(path);
  const merged =
    typeof raw === 'object' && raw !== null && !Array.isArray(raw) ? { ...raw, ...overrides } : raw;
  const parsed = configSchema.safeParse(merged);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const where = issue !== undefined && issue.path.length > 0 ? ` at ${issue.path.join('.')}` : '';
    throw enclaveError('PROJECT_INVALID', `${path} is not valid${where}: ${issue?.message ?? 'invalid'}`, {
      advice: 'Compare the file with the one that `nsgx new` makes.',
    });
  }
  const config = parsed.data;
  const wide = config.cflags.find((flag) => /^-m(avx|fma|f16c|vaes|vpclmul|arch=|xop)/.test(flag));
  if (wide !== undefined && config.vectors === 'sse') {
    throw enclaveError('PROJECT_INVALID', `${path} has the option ${wide} but vectors: sse`, {
      advice:
        'Set "vectors" to "avx" or "avx512": otherwise these registers are not saved when the enclave is interrupted.',
    });
  }
  const interfacePath = join(root, config.interface);
  const sources = config.sources.flatMap((folder) => listSources(root, folder));
  if (sources.length === 0) {
    throw enclaveError('PROJECT_NO_SOURCES', `${root} has no .c file in ${config.sources.join(', ')}`, {
      advice: 'Put the C files of the enclave into src/.',
    });
  }
  const common = { dir: root, config, sources };
  if (config.interface.endsWith('.edl'))
    return { ...common, edl: readEdl(interfacePath, root, config.edlSearchPath) };
  return { ...common, interface: parseInterfaceSource(readJson(interfacePath), interfacePath) };
}
