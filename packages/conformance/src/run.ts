/** Runs cases on a platform. */
import { AssertionError } from 'node:assert';
import { generateKey, loadSigningKey } from '@nestedsgx/image/node';
import { CaseContext, type ConformanceCase } from './case.js';
import type { Platform } from './platform.js';

/** How a case ended. `deviation`: the platform differs from the manual in a documented way, as expected. */
export type Verdict = 'passed' | 'failed' | 'deviation' | 'skipped';

/** The result of one case. */
export interface CaseResult {
  readonly leaf: string;
  readonly id: string;
  readonly title: string;
  readonly verdict: Verdict;
  /** What was found, what is missing, or which deviation. */
  readonly detail: string;
}

/** Options of {@link runSuite}. */
export interface RunOptions {
  readonly cases: readonly ConformanceCase[];
  /** Called after each case. */
  readonly onResult?: (result: CaseResult) => void;
}

/**
 * Runs the cases one after another. A documented deviation is accepted on the software machine only, and only while it
 * is one: a case that passes there in spite of its deviation fails, so that the list stays true.
 */
export async function runSuite(platform: Platform, options: RunOptions): Promise<CaseResult[]> {
  const key = loadSigningKey((await generateKey()).privateKeyPem);
  const results: CaseResult[] = [];
  for (const one of options.cases) {
    const result = runCase(new CaseContext(platform, key), one);
    results.push(result);
    options.onResult?.(result);
  }
  return results;
}

function runCase(context: CaseContext, one: ConformanceCase): CaseResult {
  const { leaf, id, title } = one;
  const give = (verdict: Verdict, detail: string): CaseResult => ({ leaf, id, title, verdict, detail });
  const missing = (one.needs ?? []).filter((feature) => !context.platform.features.has(feature));
  if (missing.length > 0) return give('skipped', `${context.platform.name} has no ${missing.join(', ')}`);
  const deviates = one.deviation !== undefined && context.platform.name === 'software';
  try {
    one.run(context);
    if (deviates) return give('failed', `the documented deviation ${one.deviation} is none any more`);
    return give('passed', '');
  } catch (error) {
    if (deviates && error instanceof AssertionError) return give('deviation', one.deviation ?? '');
    return give('failed', error instanceof Error ? error.message : String(error));
  } finally {
    context.end();
  }
}
