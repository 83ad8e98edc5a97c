/** The fetcher's entry: what `evidence` needs, from AMD's or Intel's service, into files. */
import { collateralNeeds, SNP_PRODUCTS, type SnpProduct } from '@nestedsgx/attest';
import { serviceAddress } from './address.js';
import type { CollateralFiles } from './cache.js';
import { VerifierError } from './errors.js';
import { fetchDcap } from './fetch-dcap.js';
import { fetchSnp } from './fetch-snp.js';
import { type FetchResult, Gathering } from './gathering.js';
import type { HttpOptions } from './http.js';
import { KDS_ADDRESS } from './kds.js';
import { PCS_ADDRESS, type TcbUpdate, withoutApiPath } from './pcs.js';

/** Options of {@link fetchCollateral}. */
export interface FetchOptions extends HttpOptions {
  /** AMD's service, or a cache with its paths. Default `https://kdsintf.amd.com`. */
  readonly kds?: string;
  /** A PCCS to ask in place of Intel's service; with or without `/sgx/certification/v4`. */
  readonly pccs?: string;
  /** Intel's service, when it is not at its usual place. */
  readonly pcs?: string;
  /** Where the revocation list of Intel's root is, when it is not at its usual place. */
  readonly rootCrl?: string;
  /** For PCK certificates from Intel's service. Sent there only. */
  readonly subscriptionKey?: string;
  /** Which TCB information of Intel's. Left out, the service decides (`standard`). */
  readonly tcbUpdate?: TcbUpdate;
  /** AMD's product line, where the report does not tell. */
  readonly product?: SnpProduct;
  /** True fetches AMD's ASK (ASVK) and ARK too; they are built in. */
  readonly authorities?: boolean;
  /** Files that are there already: what still serves is not fetched. */
  readonly have?: CollateralFiles;
  /** The time that kept files must serve at, milliseconds since 1970. Default now. */
  readonly time?: number;
}

/**
 * Fetches the collateral of `evidence`. This is the only function of the project that uses the network; nothing it
 * returns is trusted before `verify` has judged it.
 *
 * @example
 * const { files } = await fetchCollateral(quote, { pccs: 'https://localhost:8081' });
 * const verdict = await verify(quote, { policy, collateral: collateralFromFiles(files) });
 * @throws VerifierError FETCH_OPTIONS, FETCH_FAILED, FETCH_REFUSED
 * @throws AttestError when the evidence cannot be read
 */
export async function fetchCollateral(
  evidence: Uint8Array,
  options: FetchOptions = {},
): Promise<FetchResult> {
  const needs = collateralNeeds(evidence);
  const gathering = new Gathering(options.have ?? new Map(), options);
  const time = options.time ?? Date.now();
  if (needs.kind === 'snp') {
    if (options.product !== undefined && !SNP_PRODUCTS.includes(options.product)) {
      throw new VerifierError('FETCH_OPTIONS', `The product '${String(options.product)}' is not known.`, {
        advice: `Known are ${SNP_PRODUCTS.join(', ')}.`,
      });
    }
    await fetchSnp(
      needs,
      {
        address: serviceAddress(options.kds ?? KDS_ADDRESS, "AMD's service"),
        product: options.product,
        authorities: options.authorities ?? false,
        time,
      },
      gathering,
    );
  } else {
    const pccs = options.pccs !== undefined;
    const given = pccs ? serviceAddress(options.pccs!, 'the PCCS') : (options.pcs ?? PCS_ADDRESS);
    await fetchDcap(
      needs,
      {
        address: withoutApiPath(serviceAddress(given, "Intel's service")),
        pccs,
        rootCrlUrl:
          options.rootCrl === undefined ? undefined : serviceAddress(options.rootCrl, 'the root list'),
        subscriptionKey: pccs ? undefined : options.subscriptionKey,
        tcbUpdate: options.tcbUpdate,
        time,
      },
      gathering,
    );
  }
  const { files, fetched, kept, missing } = gathering;
  return { files, fetched, kept, missing };
}
