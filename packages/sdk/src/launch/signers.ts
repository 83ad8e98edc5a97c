/** MRSIGNERs as they are measured: lower case, ascending, each once. */
export function canonicalSigners(signers: readonly string[]): string[] {
  return [...new Set(signers.map((signer) => signer.toLowerCase()))].sort();
}
