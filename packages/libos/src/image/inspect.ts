/** What an image of a program is: all of it read from what is measured, and checked. */
import { mrsigner, SIGSTRUCT, verifySigstruct } from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import { measureImage } from '@nestedsgx/image';
import { appFacts } from './app-facts.js';
import { type AppImage, openAppImage } from './app-read.js';
import type { ProgramPolicy } from './policy.js';
import { digestFile, readRoot } from './root-read.js';
import type { StoreKey } from './store-key.js';

const ATTRIBUTES_DEBUG = 2n;

/** A file of the root. */
export interface InspectedFile {
  readonly path: string;
  readonly kind: 'file' | 'folder' | 'link' | 'start';
  /** As `ls -l` has it in octal digits. */
  readonly mode: string;
  readonly size: number;
  readonly sha256?: string;
  readonly target?: string;
  readonly inPlace?: boolean;
  /** Of a place for a folder of the host: whether it may be changed. */
  readonly mount?: 'ro' | 'rw';
  /** Of the folder of the store: whose key it has. */
  readonly store?: StoreKey;
}

/** An image of a program. hex is in lower case. */
export interface InspectedImage {
  readonly mrenclave: string;
  readonly mrsigner: string;
  readonly isvProdId: number;
  readonly isvSvn: number;
  readonly debuggable: boolean;
  readonly signatureValid: boolean;
  /** Whether the pages are those that were signed. */
  readonly signatureMatches: boolean;
  readonly entry: string;
  readonly size: number;
  /** Bytes that the program can allocate, of its stack, and of the files that it writes. */
  readonly memory: number;
  readonly stack: number;
  readonly files: number;
  readonly policy: ProgramPolicy;
  readonly root: readonly InspectedFile[];
  /** What the builder wrote beside: not measured. */
  readonly description: unknown;
  /** What is not as it must be; empty for an intact image. */
  readonly damage: readonly string[];
}

function signature(sigstruct: Uint8Array): boolean {
  try {
    verifySigstruct(nodeHash, sigstruct);
    return true;
  } catch {
    return false;
  }
}

/** Reads an image wholly. @throws APP_IMAGE_UNREADABLE, APP_IMAGE_MALFORMED, APP_IMAGE_VERSION */
export function inspectAppImage(path: string): InspectedImage {
  const app = openAppImage(path);
  try {
    return inspect(app);
  } finally {
    app.close();
  }
}

function inspect(app: AppImage): InspectedImage {
  const { image, root } = app;
  const { boot, policy } = appFacts(app);
  const signed = SIGSTRUCT.decode(image.sigstruct!);
  const mrenclave = Buffer.from(measureImage(nodeHash, image)).toString('hex');
  const signatureValid = signature(image.sigstruct!);
  const signatureMatches = Buffer.from(signed.ENCLAVEHASH).toString('hex') === mrenclave;
  const damage = app.damaged().map((name) => `the section ${name} is damaged`);
  if (!signatureValid) damage.push('the signature is not valid');
  if (!signatureMatches) damage.push('the signature is of other pages');
  const files = readRoot(app.path, image.read(boot.manifestStart, boot.manifestSize)).map((file) => {
    const { kind, size, target, inPlace, mount, store } = file;
    const entry = { path: file.path, kind, mode: file.mode.toString(8), size };
    if (kind !== 'file')
      return {
        ...entry,
        ...(target === undefined ? {} : { target }),
        ...(mount === undefined ? {} : { mount }),
        ...(store === undefined ? {} : { store }),
      };
    const { sha256, intact } = digestFile(file, root);
    if (!intact) damage.push(`${file.path} is not the file that was measured`);
    return { ...entry, sha256, inPlace };
  });
  return {
    mrenclave,
    mrsigner: Buffer.from(mrsigner(nodeHash, signed.MODULUS)).toString('hex'),
    isvProdId: signed.ISVPRODID,
    isvSvn: signed.ISVSVN,
    debuggable:
      (signed.ATTRIBUTEMASK.FLAGS & ATTRIBUTES_DEBUG) === 0n ||
      (signed.ATTRIBUTES.FLAGS & ATTRIBUTES_DEBUG) !== 0n,
    ...{ signatureValid, signatureMatches },
    entry: policy.arguments.values[0] ?? '',
    size: image.size,
    memory: boot.arenaSize,
    stack: boot.stackSize,
    files: boot.coreSize,
    policy,
    root: files,
    description: app.description,
    damage,
  };
}
