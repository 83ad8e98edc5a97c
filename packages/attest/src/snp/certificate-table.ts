/**
 * The certificate table that hosts give with extended guest requests (AMD 56421, GHCB specification,
 * "SNP Extended Guest Request"): entries of GUID, offset and length, ended by zeros, then the certificates.
 */
import { toHex } from '../bytes.js';
import { AttestError } from '../errors.js';

/** Certificates of a table by role: DER, or PEM as some hosts have them. */
export interface CertificateTable {
  readonly ark?: Uint8Array<ArrayBuffer>;
  /** The authority of the VCEK (ASK) or VLEK (ASVK). */
  readonly ask?: Uint8Array<ArrayBuffer>;
  readonly vcek?: Uint8Array<ArrayBuffer>;
  readonly vlek?: Uint8Array<ArrayBuffer>;
  readonly crl?: Uint8Array<ArrayBuffer>;
  /** GUIDs (text) of entries that are none of these; hosts may add their own. */
  readonly others: readonly string[];
}

type Role = Exclude<keyof CertificateTable, 'others'>;

const ROLES: Readonly<Record<string, Role>> = {
  'c0b406a4-a803-4952-9743-3fb6014cd0ae': 'ark',
  '4ab7b379-bbac-4fe4-a02f-05aef327c782': 'ask',
  '63da758d-e664-4564-adc5-f4b93be8accd': 'vcek',
  'a8074bc2-a25a-483e-aae6-39c045a0b8a1': 'vlek',
  '92f81bc3-5811-4d3d-97ff-d19f88dc67ea': 'crl',
};

const ENTRY = 24;
const MAX_ENTRIES = 32;

function refuse(reason: string): never {
  throw new AttestError('EVIDENCE_MALFORMED', `The certificate table ${reason}.`);
}

/** GUIDs of these tables are in the order of their text (RFC 4122 §4.1.2, network byte order). */
function guidText(bytes: Uint8Array): string {
  return toHex(bytes).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/**
 * Reads a table. No bytes are a table without entries: hosts may give none.
 * @throws AttestError EVIDENCE_MALFORMED for entries that lie, overlap the directory or come twice
 */
export function parseCertificateTable(bytes: Uint8Array): CertificateTable {
  const table: { [role in Role]?: Uint8Array<ArrayBuffer> } = {};
  const seen = new Set<string>();
  const others: string[] = [];
  if (bytes.length === 0) return { others };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const entries: { guid: string; offset: number; length: number }[] = [];
  for (let at = 0; ; at += ENTRY) {
    if (at + ENTRY > bytes.length) refuse('has no last entry');
    const guid = guidText(bytes.subarray(at, at + 16));
    const [offset, length] = [view.getUint32(at + 16, true), view.getUint32(at + 20, true)];
    if (/^[0-]*$/.test(guid)) {
      if (offset !== 0 || length !== 0) refuse('has an entry without a GUID');
      break;
    }
    if (entries.length === MAX_ENTRIES) refuse(`has more than ${MAX_ENTRIES} entries`);
    if (seen.has(guid)) refuse(`has two entries ${guid}`);
    seen.add(guid);
    entries.push({ guid, offset, length });
  }
  const directory = (entries.length + 1) * ENTRY;
  for (const { guid, offset, length } of entries) {
    if (length === 0 || offset < directory || offset + length > bytes.length)
      refuse(`has an entry ${guid} of ${length} bytes at ${offset}, outside of its ${bytes.length} bytes`);
    const role = Object.hasOwn(ROLES, guid) ? ROLES[guid] : undefined;
    if (role === undefined) others.push(guid);
    else table[role] = bytes.slice(offset, offset + length) as Uint8Array<ArrayBuffer>;
  }
  return { ...table, others };
}
