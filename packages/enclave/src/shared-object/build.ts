/** Building an enclave project with an interface in EDL into NAME.so and NAME.signed.so, as Intel's SDK has them. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { nodeHash } from '@nestedsgx/arch/node';
import {
  describeEdl,
  type EdlDescription,
  type ForeignType,
  generateTrustedC,
  generateTypeScript,
} from '@nestedsgx/edl';
import { IntelImage, measureImage, parseSignedSo, type SignOptions } from '@nestedsgx/image';
import { type Passphrase, type SigningKey, signImage } from '@nestedsgx/image/node';
import {
  type BuildOptions,
  type EnclaveDescription,
  signingAndBuild,
  signOptionsOf,
  VECTOR_FLAGS,
  writeIfChanged,
} from '../build.js';
import { compileEnclave, linkEnclave, readLinked } from '../compile.js';
import { enclaveError } from '../errors.js';
import { readProject } from '../project.js';
import { findToolchain } from '../toolchain.js';
import { writeSharedObject } from './metadata.js';
import { withSigstruct } from './signature.js';

/** Contents of NAME.json beside NAME.so; not measured. */
export interface EdlEnclaveDescription extends Omit<EnclaveDescription, 'format' | 'ecalls' | 'ocalls'> {
  readonly format: 2;
  /** For `cvm.load` and the marshaller of package edl. */
  readonly edl: EdlDescription;
}

/** What {@link buildEdlEnclave} made. */
export interface EdlBuildResult {
  readonly name: string;
  /** The linked enclave with its metadata, unsigned. */
  readonly soPath: string;
  /** The signed enclave; missing without a key. */
  readonly signedPath?: string;
  readonly jsonPath: string;
  /** TypeScript of the interface. */
  readonly tsPath: string;
  /** 64 hexadecimal digits. */
  readonly mrenclave: string;
  /** SECS.SIZE in bytes. */
  readonly size: number;
  /** Pages that EADD adds. */
  readonly pages: number;
  readonly threads: number;
  readonly description: EdlEnclaveDescription;
  /** gcc's warnings about the author's sources; empty when there are none. */
  readonly warnings: string;
}

/** Options of {@link buildEdlEnclave}. */
export interface EdlBuildOptions extends BuildOptions {
  /** Signs the enclave: PEM, or a loaded key. */
  readonly key?: string | Uint8Array | SigningKey;
  readonly passphrase?: Passphrase;
  /** Of the signature; today. */
  readonly date?: SignOptions['date'];
}

/**
 * Builds a project whose interface is an EDL file: generates bridges and stubs (`generated/NAME_t.h` and `.c`), compiles
 * with the system's gcc, links, writes layout and metadata, and signs when there is a key. The same toolchain, sources and
 * settings give the same bytes wherever the project lies.
 *
 * Throws the errors of `readProject`, `findToolchain`, `describeEdl` and `signImage`, COMPILE_FAILED and LINK_FAILED (as
 * {@link CompileError}), ELF_MALFORMED, ELF_UNSUPPORTED, LAYOUT_TOO_LARGE.
 */
export async function buildEdlEnclave(options: EdlBuildOptions): Promise<EdlBuildResult> {
  const { dir, config, sources, edl } = readProject(options.dir, options.config);
  if (edl === undefined)
    throw enclaveError('PROJECT_INVALID', `${dir} has no interface in EDL`, {
      advice: 'Set "interface" in enclave.json to an EDL file.',
    });
  if ((config.maxThreads ?? 0) > config.threads || (config.heapMaxPages ?? 0) > config.heapPages)
    throw enclaveError('PROJECT_INVALID', `${dir} asks for memory or threads that come at run time`, {
      advice: 'Enclaves with an interface in EDL have what they begin with: raise heapPages or threads.',
    });
  const types = config.edlTypes as Record<string, ForeignType>;
  const edlDescription = describeEdl(edl, { types, allowUnknown: true });
  const toolchain = options.toolchain ?? (await findToolchain());
  const out = resolve(options.out ?? join(dir, 'build'));
  const generated = join(out, 'generated');
  mkdirSync(generated, { recursive: true });
  const { header, source } = generateTrustedC(edl);
  writeIfChanged(join(generated, `${edl.name}_t.h`), header);
  writeIfChanged(join(generated, `${edl.name}_t.c`), source);

  const scratch = mkdtempSync(join(tmpdir(), 'nsgx-build-'));
  try {
    const compiled = await compileEnclave(toolchain, {
      dir,
      sources,
      cflags: [...VECTOR_FLAGS[config.vectors], ...config.cflags],
      generated,
      bridges: `${edl.name}_t.c`,
      protocol: 'edl',
      includes: ['.', ...config.includes, ...config.sources],
      scratch,
    });
    const linked = join(scratch, 'enclave.so');
    await linkEnclave(toolchain, compiled.objects, scratch, linked);
    const description: EdlEnclaveDescription = {
      format: 2,
      name: config.name,
      edl: edlDescription,
      threads: config.threads,
      heap: config.heapPages * 4096,
      ...signingAndBuild(config, toolchain),
    };
    const signing = signOptionsOf(description.signing);
    const { attributes = { FLAGS: 0n, XFRM: 0n } } = signing;
    const { bytes, plan } = writeSharedObject(readLinked(linked), config, {
      miscselect: config.miscselect,
      attributes,
    });
    const image = new IntelImage(parseSignedSo(bytes));
    const path = (suffix: string) => join(out, `${config.name}${suffix}`);
    writeFileSync(path('.so'), bytes);
    writeFileSync(path('.json'), `${JSON.stringify(description, null, 2)}\n`);
    writeIfChanged(path('.ts'), generateTypeScript(edlDescription));
    const signedPath = options.key === undefined ? undefined : path('.signed.so');
    if (options.key !== undefined && signedPath !== undefined) {
      const { passphrase, date } = options;
      const sigstruct = signImage(image, options.key, { ...signing, passphrase, date });
      writeFileSync(signedPath, withSigstruct(bytes, sigstruct));
    }
    let pages = 0;
    for (const run of image.pages()) pages += run.data.length / 4096;
    return {
      name: config.name,
      soPath: path('.so'),
      signedPath,
      jsonPath: path('.json'),
      tsPath: path('.ts'),
      mrenclave: Buffer.from(measureImage(nodeHash, image)).toString('hex'),
      size: plan.size,
      pages,
      threads: config.threads,
      description,
      warnings: compiled.warnings,
    };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
