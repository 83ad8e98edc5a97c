/**
 * Which EDL file an enclave was built with, as far as its own symbols tell: files that were not stripped name a bridge for
 * every ECALL and tables with the numbers of ECALLs and OCALLs. Source: what sgx_edger8r generates (NAME_t.c).
 */
import { readFileSync } from 'node:fs';
import { dirname, relative } from 'node:path';
import { readU64 } from '@nestedsgx/arch';
import type { DescribeOptions, EdlDescription } from '@nestedsgx/edl';
import { elfSymbols, type IntelImage } from '@nestedsgx/image';
import { openEdl } from '@nestedsgx/sdk';
import { edlCandidates } from '../edl-json/find-edl.js';
import type { EdlChoice } from './report.js';

const ECALL_TABLE = 'g_ecall_table';
const OCALL_TABLE = 'g_dyn_entry_table';
const BRIDGE = /^sgx_/;
/** Most EDL files that are tried for one enclave. */
const MOST = 100;

/** What symbols tell of an interface. */
interface Told {
  readonly ecalls: number;
  readonly ocalls: number | null;
  readonly bridges: ReadonlySet<string>;
}

/** The EDL file of an enclave in a folder, or why none fits. */
export function chooseEdl(
  path: string,
  root: string,
  image: IntelImage,
  searchPath: readonly string[],
  types?: DescribeOptions['types'],
  constants?: DescribeOptions['constants'],
): { edl: EdlDescription; choice: EdlChoice } | { why: string } {
  const told = toldBySymbols(readFileSync(path), image);
  const { likely, others } = edlCandidates(path, root);
  const all = [...likely, ...others].slice(0, MOST);
  // Builds name folders of imported files on their command lines; here, any folder with such files may be one.
  const folders = [...searchPath, ...new Set(all.map((file) => dirname(file)))];
  const unread: string[] = [];
  // Without symbols only the place tells.
  for (const file of told === null ? likely : all) {
    let edl: EdlDescription;
    try {
      edl = openEdl(file, folders, types, constants);
    } catch (error) {
      unread.push((error as Error).message.split('\n')[0]!);
      continue;
    }
    if (told === null || fits(edl, told))
      return { edl, choice: { file: relative(root, file), fit: told === null ? 'place' : 'symbols' } };
  }
  if (likely.length > 0 && unread.length > 0) return { why: unread[0]! };
  if (told === null || all.length === 0) return { why: 'there is no EDL file for it' };
  const numbers = `${told.ecalls} ECALLs${told.ocalls === null ? '' : ` and ${told.ocalls} OCALLs`}`;
  return { why: `no EDL file around it has its ${numbers}` };
}

function fits(edl: EdlDescription, { ecalls, ocalls, bridges }: Told): boolean {
  return (
    edl.ecalls.length === ecalls &&
    (ocalls === null || edl.ocalls.length === ocalls) &&
    edl.ecalls.every(({ name }) => bridges.has(`sgx_${name}`))
  );
}

/** Null for files without symbols. */
function toldBySymbols(file: Uint8Array, { source }: IntelImage): Told | null {
  const bridges = new Set<string>();
  let ecalls: number | null = null;
  let ocalls: number | null = null;
  const first = (address: bigint): number | null => {
    const segment = source.elf.segments.find(
      ({ rva, fileSize }) => address >= BigInt(rva) && address + 8n <= BigInt(rva + fileSize),
    );
    if (segment === undefined) return null;
    const value = readU64(file, segment.fileOffset + Number(address) - segment.rva);
    return value < 0x10000n ? Number(value) : null;
  };
  for (const { name, address } of elfSymbols(file, 'symtab')) {
    if (name === ECALL_TABLE) ecalls = first(address);
    else if (name === OCALL_TABLE) ocalls = first(address);
    else if (BRIDGE.test(name)) bridges.add(name);
  }
  return ecalls === null ? null : { ecalls, ocalls, bridges };
}
