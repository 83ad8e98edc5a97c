/**
 * What a `.signed.so` was built for, beyond its metadata. Source: Intel SGX SDK for Linux, psw/urts/urts_com.h (which
 * enclaves a loader refuses as built for the other mode) and common/inc/internal/se_version.h; Intel SDM, "ENCLU".
 */
import { elfSections } from './elf.js';
import type { SignedSo } from './signed-so.js';
import { elfSymbols } from './symbols.js';

/** The symbol that only the simulation runtime exports. */
const SIMULATION_SYMBOL = 'g_global_data_sim';
/** Where the protected code loader keeps what it needs to decrypt the rest. */
const PCL_SECTION = '.pcltbl';
const PF_X = 1;
/** 0F 01 D7. */
const ENCLU = [0x0f, 0x01, 0xd7] as const;
/** What trusted libraries of all releases carry as text, with the release behind it; the runtime's only if not simulated. */
const VERSION_MARKS = ['SGX_TRTS_VERSION_', 'SGX_TSTDC_VERSION_'].map((mark) => ascii(mark));
const VERSION_MOST = 24;

/** Whether a file was built for simulation (SGX_MODE=SIM). Throws IMAGE_ELF, IMAGE_TRUNCATED. */
export function isSimulationBuild(b: Uint8Array): boolean {
  for (const { name } of elfSymbols(b, 'dynsym')) if (name === SIMULATION_SYMBOL) return true;
  return false;
}

/** Whether a file was encrypted for the SDK's protected code loader (sgx_encrypt). Throws IMAGE_ELF, IMAGE_TRUNCATED. */
export function isEncryptedBuild(b: Uint8Array): boolean {
  return elfSections(b).some(({ name }) => name === PCL_SECTION);
}

/**
 * Whether an ENCLU instruction stands anywhere in the enclave's executable segments. Without one it can be entered, and
 * never leave by EEXIT: EEXIT is a leaf of ENCLU.
 */
export function containsEnclu({ elf, patched }: Pick<SignedSo, 'elf' | 'patched'>): boolean {
  return elf.segments.some(
    ({ flags, fileOffset, fileSize }) =>
      (flags & PF_X) !== 0 && find(patched.subarray(fileOffset, fileOffset + fileSize), ENCLU) >= 0,
  );
}

/** The release of the SDK's trusted runtime, such as `2.26.100.0`, or null where the file does not tell. */
export function trustedRuntimeVersion({ patched }: Pick<SignedSo, 'patched'>): string | null {
  for (const mark of VERSION_MARKS) {
    const found = find(patched, mark);
    if (found < 0) continue;
    const from = found + mark.length;
    const text = String.fromCharCode(...patched.subarray(from, from + VERSION_MOST));
    const version = /^\d+(\.\d+){1,4}/.exec(text)?.[0];
    if (version !== undefined) return version;
  }
  return null;
}

/** Where a pattern first stands, or -1. It is looked for by its last byte, which `indexOf` finds quickly. */
function find(b: Uint8Array, pattern: readonly number[]): number {
  const last = pattern.length - 1;
  const rare = pattern[last]!;
  for (let i = b.indexOf(rare, last); i >= 0; i = b.indexOf(rare, i + 1))
    if (pattern.every((byte, k) => b[i - last + k] === byte)) return i - last;
  return -1;
}

function ascii(text: string): number[] {
  return Array.from(text, (c) => c.charCodeAt(0));
}
