/** Building an enclave project into NAME.sgxs and NAME.json. */
import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import {
  ATTRIBUTES_DEBUG,
  ATTRIBUTES_KSS,
  ATTRIBUTES_MODE64BIT,
  ATTRIBUTES_PROVISIONKEY,
  EnclaveMeasurement,
  secinfoBytes,
  XFRM_AVX,
  XFRM_AVX512,
  XFRM_LEGACY,
} from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import {
  type FunctionDescription,
  generateBridges,
  generateHeader,
  type InterfaceDescription,
} from '@nestedsgx/edl';
import { SgxsWriter, type SignOptions } from '@nestedsgx/image';
import {
  CRYPTO_VERSION,
  compileEnclave,
  linkEnclave,
  RUNTIME_VERSION,
  readLinked,
  runtimeDigest,
} from './compile.js';
import { enclaveError } from './errors.js';
import { type EnclaveLayout, layOut } from './layout.js';
import { type EnclaveConfig, type EnclaveConfigInput, readProject } from './project.js';
import { findToolchain, type Toolchain } from './toolchain.js';

/** Contents of NAME.json; not measured. */
export interface EnclaveDescription {
  readonly format: 1;
  readonly name: string;
  readonly ecalls: readonly FunctionDescription[];
  readonly ocalls: readonly FunctionDescription[];
  /** Number of TCSs. */
  readonly threads: number;
  /** Bytes of heap. */
  readonly heap: number;
  /** What the author asks of the signature. */
  readonly signing: {
    readonly isvProdId: number;
    readonly isvSvn: number;
    readonly miscselect: number;
    readonly debug: boolean;
    readonly provisionKey: boolean;
    readonly kss: boolean;
    readonly vectors: EnclaveConfig['vectors'];
  };
  /** Versions of everything that made the bytes. */
  readonly build: Readonly<Record<string, string>>;
}

/** What {@link buildEnclave} made. */
export interface BuildResult {
  readonly name: string;
  readonly sgxsPath: string;
  readonly jsonPath: string;
  /** The linked file with its symbols, for debuggers. */
  readonly elfPath: string;
  /** 64 hexadecimal digits. */
  readonly mrenclave: string;
  /** SECS.SIZE in bytes. */
  readonly size: number;
  /** Pages that EADD adds. */
  readonly pages: number;
  readonly threads: number;
  /** Every page (not enumerable, so that results can be printed as JSON). */
  readonly layout: EnclaveLayout;
  readonly description: EnclaveDescription;
  /** Options for signing this enclave as enclave.json says (not enumerable). */
  readonly signOptions: SignOptions;
  /** gcc's warnings about the author's sources; empty when there are none. */
  readonly warnings: string;
}

/** Options of {@link buildEnclave}. */
export interface BuildOptions {
  /** Folder of the project. */
  readonly dir: string;
  /** Folder for the results; `build` in the project. */
  readonly out?: string;
  /** Settings that replace those of enclave.json. */
  readonly config?: Partial<EnclaveConfigInput>;
  /** The compiler; found by {@link findToolchain} when left out. */
  readonly toolchain?: Toolchain;
}

const XFRM_OF = Object.freeze({
  sse: XFRM_LEGACY,
  avx: XFRM_LEGACY | XFRM_AVX,
  avx512: XFRM_LEGACY | XFRM_AVX | XFRM_AVX512,
});
/** Compiler options by the setting `vectors`. */
export const VECTOR_FLAGS = Object.freeze({
  sse: [],
  avx: ['-mavx2', '-mfma'],
  avx512: ['-mavx2', '-mfma', '-mavx512f'],
});

/** Signing options that follow from what NAME.json (or enclave.json) asks for. */
export function signOptionsOf(signing: EnclaveDescription['signing']): SignOptions {
  let flags = ATTRIBUTES_MODE64BIT;
  if (signing.debug) flags |= ATTRIBUTES_DEBUG;
  if (signing.provisionKey) flags |= ATTRIBUTES_PROVISIONKEY;
  if (signing.kss) flags |= ATTRIBUTES_KSS;
  return {
    isvProdId: signing.isvProdId,
    isvSvn: signing.isvSvn,
    miscselect: signing.miscselect,
    attributes: { FLAGS: flags, XFRM: XFRM_OF[signing.vectors] },
  };
}

function describe(
  config: EnclaveConfig,
  calls: InterfaceDescription,
  toolchain: Toolchain,
): EnclaveDescription {
  return {
    format: 1,
    name: config.name,
    ecalls: calls.ecalls,
    ocalls: calls.ocalls,
    threads: config.threads,
    heap: config.heapPages * 4096,
    ...signingAndBuild(config, toolchain),
  };
}

/** What the descriptions of both formats say of signature and tools. */
export function signingAndBuild(
  config: EnclaveConfig,
  toolchain: Toolchain,
): Pick<EnclaveDescription, 'signing' | 'build'> {
  return {
    signing: {
      isvProdId: config.isvProdId,
      isvSvn: config.isvSvn,
      miscselect: config.miscselect,
      debug: config.debug,
      provisionKey: config.attributes.provisionKey,
      kss: config.attributes.kss,
      vectors: config.vectors,
    },
    build: {
      gcc: toolchain.gccVersion,
      ld: toolchain.ldVersion,
      runtime: RUNTIME_VERSION,
      runtimeSha256: runtimeDigest(),
      crypto: CRYPTO_VERSION,
    },
  };
}

/** Writes the SGXS file piece by piece and measures it on the way. Returns MRENCLAVE. */
function writeImage(path: string, layout: EnclaveLayout): string {
  const measurement = new EnclaveMeasurement(nodeHash);
  measurement.ecreate(layout.ssaFrameSize, BigInt(layout.size));
  const fd = openSync(path, 'w');
  try {
    const writer = new SgxsWriter(layout, (bytes) => {
      for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
    });
    for (const run of layout.runs) {
      writer.addPages(run);
      measurement.addPages(BigInt(run.offset), secinfoBytes(run.secinfoFlags), run.data, run.measured);
    }
    writer.finish();
  } finally {
    closeSync(fd);
  }
  return Buffer.from(measurement.digest()).toString('hex');
}

/** Writes a file unless it holds the same text already, so that editors and make see no change. */
export function writeIfChanged(path: string, text: string): void {
  if (existsSync(path) && readFileSync(path, 'utf8') === text) return;
  writeFileSync(path, text);
}

/**
 * Builds a project: generates the bridges, compiles with the system's gcc, links, lays out the pages and writes
 * `NAME.sgxs`, `NAME.json`, `NAME.elf` and `generated/nsgx_interface.h`. The same toolchain, sources and settings give
 * the same bytes wherever the project lies.
 *
 * Throws the errors of `readProject` and `findToolchain`, COMPILE_FAILED and LINK_FAILED (as {@link CompileError}),
 * ELF_MALFORMED, ELF_UNSUPPORTED, LAYOUT_TOO_LARGE.
 */
export async function buildEnclave(options: BuildOptions): Promise<BuildResult> {
  const project = readProject(options.dir, options.config);
  const { config } = project;
  if (project.interface === undefined)
    throw enclaveError(
      'PROJECT_INVALID',
      `${project.dir} has an interface in EDL: it is built in Intel's format`,
      {
        advice: 'Build it with `nsgx build`, or with buildEdlEnclave.',
      },
    );
  const calls = project.interface;
  const toolchain = options.toolchain ?? (await findToolchain());
  const out = resolve(options.out ?? join(project.dir, 'build'));
  const generated = join(out, 'generated');
  mkdirSync(generated, { recursive: true });
  writeIfChanged(join(generated, 'nsgx_interface.h'), generateHeader(calls));
  writeIfChanged(join(generated, 'bridges.c'), generateBridges(calls));

  const scratch = mkdtempSync(join(tmpdir(), 'nsgx-build-'));
  try {
    const compiled = await compileEnclave(toolchain, {
      dir: project.dir,
      sources: project.sources,
      includes: config.includes,
      cflags: [...VECTOR_FLAGS[config.vectors], ...config.cflags],
      generated,
      bridges: 'bridges.c',
      protocol: 'messages',
      scratch,
    });
    const linked = join(scratch, 'enclave.elf');
    await linkEnclave(toolchain, compiled.objects, scratch, linked, config.emptyPages);
    const layout = layOut(readLinked(linked), config);

    const elfPath = join(out, `${config.name}.elf`);
    const sgxsPath = join(out, `${config.name}.sgxs`);
    const jsonPath = join(out, `${config.name}.json`);
    const partial = `${sgxsPath}.${process.pid}.new`;
    const mrenclave = writeImage(partial, layout);
    renameSync(partial, sgxsPath);
    copyFileSync(linked, elfPath);
    const description = describe(config, calls, toolchain);
    writeFileSync(jsonPath, `${JSON.stringify(description, null, 2)}\n`);
    const result = {
      name: config.name,
      sgxsPath,
      jsonPath,
      elfPath,
      mrenclave,
      size: layout.size,
      pages: layout.runs.reduce((pages, run) => pages + run.data.length / 4096, 0),
      threads: config.threads,
      description,
      warnings: compiled.warnings,
    };
    // Not enumerable: pages and bigints do not belong into what is printed as JSON.
    return Object.defineProperties(result, {
      layout: { value: layout },
      signOptions: { value: signOptionsOf(description.signing) },
    }) as BuildResult;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
