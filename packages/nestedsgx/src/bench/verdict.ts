/** Figures and judgements in words. */
import type { Judgement } from './targets.js';

/** Writes figures as people read them. */
export function figure(value: number | null): string {
  if (value === null) return '–';
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString('en-US');
  if (Math.abs(value) >= 100) return value.toFixed(0);
  return String(Number(value.toPrecision(3)));
}

/** One target in words, such as "≤ 1,300 cycles: met (0.81)". */
export function verdict({ target, found, met }: Judgement, unit: string): string {
  const limit =
    target.of === 'value'
      ? `${figure(target.limit)} ${unit}`
      : `${target.limit} × ${target.of === 'ratio' ? 'floor' : 'peer'}`;
  const share = target.limit === 0 ? figure(found) : `${(found / target.limit).toFixed(2)} of it`;
  return `${target.atLeast ? '≥' : '≤'} ${limit}: ${met ? 'met' : 'MISSED'} (${share})`;
}
