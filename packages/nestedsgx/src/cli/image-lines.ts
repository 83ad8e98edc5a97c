/** An inspected image for people. */
import type { InspectedFile, InspectedImage } from '@nestedsgx/libos';
import type { Terminal } from './terminal.js';

const mebibytes = (bytes: number) => `${+(bytes / 2 ** 20).toFixed(1)} MiB`;
const LETTERS = { file: '-', folder: 'd', link: 'l', start: '>' } as const;

function policyLines({ policy }: InspectedImage): string[][] {
  const { policy: kind, values } = policy.arguments;
  const kinds = { any: 'any', fixed: 'fixed', prefix: 'the host may add to' };
  const given = values.length > 1 ? `: ${values.slice(1).join(' ')}` : '';
  const { environment } = policy;
  if (environment === 'any')
    return [
      ['arguments', `${kinds[kind]}${given}`],
      ['environment', 'any'],
    ];
  return [
    ['arguments', `${kinds[kind]}${given}`],
    ...environment.set.map((text) => ['set', text]),
    ['from the host', environment.pass.join(' ') || 'nothing'],
  ];
}

function fileCells(file: InspectedFile): string[] {
  const name = file.target === undefined ? file.path : `${file.path} -> ${file.target}`;
  return [
    `  ${LETTERS[file.kind]}${file.mode.padStart(4, '0')}`,
    file.kind === 'file' ? String(file.size) : '',
    file.sha256?.slice(0, 16) ?? '',
    noted(file, name),
  ];
}

/** A name, and what is particular about it. */
function noted({ inPlace, mount, kind, store }: InspectedFile, name: string): string {
  if (kind === 'start') return `${name} (it starts here)`;
  if (mount !== undefined) return `${name} (a folder of the host, ${mount})`;
  if (typeof store === 'object')
    return `${name} (the store: key ${store.provisioned} of key server ${store.server})`;
  if (store !== undefined) return `${name} (the store: key of ${store})`;
  return inPlace ? `${name} (in place)` : name;
}

/** Lines for a terminal. */
export function inspectedLines(image: InspectedImage, terminal: Terminal): string[] {
  const facts = [
    ['mrenclave', image.mrenclave],
    ['mrsigner', image.mrsigner],
    [
      'product, svn',
      `${image.isvProdId}, ${image.isvSvn}${image.debuggable ? '; may be loaded for debugging' : ''}`,
    ],
    ['entry', image.entry],
    [
      'memory',
      `${mebibytes(image.memory)}, stack ${mebibytes(image.stack)}, files ${mebibytes(image.files)}`,
    ],
    ...policyLines(image),
  ];
  return [
    ...terminal.table(facts),
    'root',
    ...terminal.table(image.root.map(fileCells)),
    ...image.damage.map((text) => `DAMAGED: ${text}`),
  ];
}
