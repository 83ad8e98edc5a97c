/** The policy's section for DCAP quotes. */
import * as z from 'zod/mini';
import { flag, hexList, integer, MAX_LIST } from './fields.js';

/** Statuses of Intel's TCB evaluation other than UpToDate; each is refused unless named. */
export const DCAP_STATUSES = [
  'UpToDate',
  'SWHardeningNeeded',
  'ConfigurationNeeded',
  'ConfigurationAndSWHardeningNeeded',
  'OutOfDate',
  'OutOfDateConfigurationNeeded',
  'Revoked',
  'TDRelaunchAdvised',
  'TDRelaunchAdvisedConfigurationNeeded',
] as const;

/** Schema of `dcap`. */
export const dcapSchema = z.strictObject({
  /** Statuses accepted besides UpToDate. */
  acceptStatus: z._default(z.array(z.enum(DCAP_STATUSES)).check(z.maxLength(MAX_LIST)), []),
  /** When not empty: the only advisories that may apply. */
  acceptAdvisories: z._default(
    z
      .array(z.string().check(z.regex(/^[A-Za-z0-9-]{1,64}$/, 'must be an advisory id')))
      .check(z.maxLength(MAX_LIST)),
    [],
  ),
  minTcbEvaluationNumber: z.optional(integer(0xffff_ffff)),
  refuseDynamicPlatform: flag(),
  refuseCachedKeys: flag(),
  refuseSmt: flag(),
  /** False refuses enclaves and TDs that nothing pins. */
  allowAnyMeasurement: flag(true),
  mrenclave: hexList(32),
  mrsigner: hexList(32),
  isvProdId: z.optional(integer(0xffff)),
  minIsvSvn: z.optional(integer(0xffff)),
  mrtd: hexList(48),
  rtmr0: hexList(48),
  rtmr1: hexList(48),
  rtmr2: hexList(48),
  rtmr3: hexList(48),
  mrConfigId: hexList(48),
  mrOwner: hexList(48),
  mrOwnerConfig: hexList(48),
  mrSeam: hexList(48),
  mrServiceTd: hexList(48),
  allowMigratable: flag(),
  allowDebug: flag(),
});
