import { hex } from './files.js';

/** A decoded structure as JSON values: byte strings in hexadecimal, 64-bit integers as 0x… text. */
export function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return hex(value);
  if (typeof value === 'bigint') return `0x${value.toString(16)}`;
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
  return value;
}

/** A document as indented `name  value` lines. */
export function fieldLines(document: object, indent = ''): string[] {
  const width = Math.max(0, ...Object.keys(document).map((key) => key.length));
  return Object.entries(document).flatMap(([key, value]) => {
    if (typeof value === 'object' && value !== null)
      return [`${indent}${key}`, ...fieldLines(value as object, `${indent}  `)];
    return [`${indent}${key.padEnd(width)}  ${value === null ? '-' : String(value)}`];
  });
}
