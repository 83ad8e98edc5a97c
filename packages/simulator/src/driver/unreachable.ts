/** Checks that no sequence can trip, each with the reason. A row that is reached all the same is reported. */

const NO_FRAME = 'an address without a valid EPCM entry has no frame: the row before takes it';
const SAME_MASK = 'ECREATE holds XFRM to the same mask';

const ROWS: readonly (readonly [row: string, reason: string])[] = [
  ['EDBGWR.memory-available', 'a valid page is backed already'],
  ['EUPDATESVN', 'the SVN never rises: a success answers SGX_NO_UPDATE'],
  ['EUPDATESVN.entropy', 'the randomness of the operating system does not run out here'],
  ['EVERIFYREPORT2', 'there are no TD reports on this platform'],
  ['EREPORT.targetinfo-valid', NO_FRAME],
  ['EREPORT.reportdata-valid', NO_FRAME],
  ['EREPORT.output-valid', NO_FRAME],
  ['EENTER.tcs-valid', NO_FRAME],
  ['ERESUME.tcs-valid', NO_FRAME],
  ['EENTER.xfrm-enabled', SAME_MASK],
  ['ERESUME.xfrm-enabled', SAME_MASK],
  ['EACCEPT.tcs-limits-32', 'no thread gets into an enclave without MODE64BIT'],
];

/** Reason by `LEAF.check`. */
export const UNREACHABLE: ReadonlyMap<string, string> = new Map(ROWS);
