/** Fetches from AMD what an SNP report needs: the VCEK, the revocation list, on demand the authorities. */
import { leafProductLine, type SnpNeeds, type SnpProduct } from '@nestedsgx/attest';
import { certificateOf, certificatesOf, pemFile, revocationListOf } from './content.js';
import { listServes, vcekServes } from './freshness.js';
import type { Gathering } from './gathering.js';
import { amdCrlUrl, certChainUrl, type EndorsementKey, vcekUrl } from './kds.js';

const CERTIFICATE_BYTES = 16 * 1024;
const CRL_BYTES = 4 * 1024 * 1024;
/** A version 2 report does not name its product; only these had such firmware. */
const BEFORE_VERSION_3: readonly SnpProduct[] = ['Milan', 'Genoa'];

/** Options that bear on AMD's service. */
export interface SnpFetchOptions {
  readonly address: string;
  readonly product: SnpProduct | undefined;
  readonly authorities: boolean;
  readonly time: number;
}

async function fetchVcek(
  needs: SnpNeeds & { chipId: string },
  products: readonly SnpProduct[],
  options: SnpFetchOptions,
  gathering: Gathering,
): Promise<SnpProduct> {
  const last = products[products.length - 1]!;
  for (const product of products) {
    const url = vcekUrl(options.address, product, needs.chipId, needs.tcb);
    const answer =
      product === last
        ? await gathering.ask(url, CERTIFICATE_BYTES)
        : await gathering.askPerhaps(url, CERTIFICATE_BYTES);
    if (answer === null) continue;
    gathering.put('vcek.der', certificateOf(answer).der, answer.url);
    return product;
  }
  return last;
}

/** The leaf, and the product that is known afterwards. */
async function leafProduct(
  needs: SnpNeeds,
  options: SnpFetchOptions,
  gathering: Gathering,
): Promise<SnpProduct | null> {
  const known = options.product ?? needs.product;
  if (needs.hasLeaf) return known;
  if (needs.signingKey === 'VLEK') {
    if (!gathering.keeps('vlek.der', () => true))
      gathering.lacks(
        'vlek.der',
        'AMD gives VLEKs to cloud providers only; the provider hands it to its guests',
      );
    return known;
  }
  const { chipId, tcb } = needs;
  if (needs.signingKey === 'none') gathering.lacks('vcek.der', 'the report is not signed');
  else if (chipId === null) gathering.lacks('vcek.der', 'the report masks its chip id (MASK_CHIP_ID)');
  else if (!gathering.keeps('vcek.der', (der) => vcekServes(der, chipId, tcb, options.time)))
    return fetchVcek({ ...needs, chipId }, known === null ? BEFORE_VERSION_3 : [known], options, gathering);
  return known ?? keptProduct(gathering);
}

/** The product of a VCEK that was kept. */
function keptProduct(gathering: Gathering): SnpProduct | null {
  const der = gathering.kept.includes('vcek.der') ? gathering.files.get('vcek.der') : undefined;
  return der === undefined ? null : leafProductLine(der);
}

/** Fetches for a report. @throws VerifierError */
export async function fetchSnp(
  needs: SnpNeeds,
  options: SnpFetchOptions,
  gathering: Gathering,
): Promise<void> {
  const product = await leafProduct(needs, options, gathering);
  if (product === null) return;
  const key: EndorsementKey = needs.signingKey === 'VLEK' ? 'VLEK' : 'VCEK';
  if (!gathering.keeps('crl.der', (der) => listServes(der, `ARK-${product}`, options.time))) {
    const answer = await gathering.ask(amdCrlUrl(options.address, key, product), CRL_BYTES);
    gathering.put('crl.der', revocationListOf(answer), answer.url);
  }
  if (options.authorities) {
    const { url, body } = await gathering.ask(
      certChainUrl(options.address, key, product),
      4 * CERTIFICATE_BYTES,
    );
    const [authority, root] = certificatesOf(url, body, 2);
    gathering.put('ask.pem', pemFile([authority!]), url);
    gathering.put('ark.pem', pemFile([root!]), url);
  }
}
