/** Which file of a collateral directory some bytes are, by their contents. */
import { AttestError, parseRevocationList, parseSnpLeaf, readCertificates } from '@nestedsgx/attest';

/** By the common name of a certificate's subject. */
const CERTIFICATES: readonly (readonly [RegExp, string])[] = [
  [/^Intel SGX PCK Certificate$/, 'pck.pem'],
  [/^Intel SGX TCB Signing$/, 'tcb-signing.pem'],
  [/^ARK-/, 'ark.pem'],
  [/^SEV-/, 'ask.pem'],
];
/** By the common name of a list's issuer. */
const LISTS: readonly (readonly [RegExp, string])[] = [
  [/^Intel SGX Root CA$/, 'root-crl.der'],
  [/^Intel SGX PCK Processor CA$/, 'pck-crl-processor.der'],
  [/^Intel SGX PCK Platform CA$/, 'pck-crl-platform.der'],
  [/^ARK-/, 'crl.der'],
];

function attempt(read: () => string | undefined): string | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof AttestError || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

const named = (names: typeof LISTS, commonName: string) =>
  names.find(([pattern]) => pattern.test(commonName))?.[1];

/** The name of a document of Intel's, or null. */
export function documentName(bytes: Uint8Array): string | null {
  const name = attempt(() => {
    const read: unknown = JSON.parse(new TextDecoder().decode(bytes));
    if (typeof read !== 'object' || read === null) return undefined;
    return 'tcbInfo' in read ? 'tcb-info.json' : 'enclaveIdentity' in read ? 'qe-identity.json' : undefined;
  });
  return name ?? null;
}

/** The name of certificates or a list, or null. Quotes hold certificates, too: ask whether it is one first. */
export function certificateName(bytes: Uint8Array): string | null {
  const certificates = (): string | undefined => {
    const [first] = readCertificates(bytes, 'The file');
    const leaf = attempt(() => parseSnpLeaf(first!).kind);
    return leaf === undefined ? named(CERTIFICATES, first!.subject.commonName) : `${leaf.toLowerCase()}.der`;
  };
  return (
    attempt(certificates) ?? attempt(() => named(LISTS, parseRevocationList(bytes).issuer.commonName)) ?? null
  );
}
