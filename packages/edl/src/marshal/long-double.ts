/** `long double` of x86-64: the 80-bit extended format of the x87 in 16 bytes (Intel SDM Vol. 1, 4.2.2). */

const BIAS = 16383n;

/** Writes a number; every double has an exact representation. */
export function writeExtended(view: DataView, at: number, value: number): void {
  const scratch = new DataView(new ArrayBuffer(8));
  scratch.setFloat64(0, value);
  const bits = scratch.getBigUint64(0);
  const sign = bits >> 63n;
  let exponent = (bits >> 52n) & 0x7ffn;
  let fraction = bits & (2n ** 52n - 1n);
  let significand: bigint;
  if (exponent === 0x7ffn) {
    significand = (2n ** 63n) | (fraction << 11n);
    exponent = 0x7fffn;
  } else if (exponent === 0n && fraction === 0n) significand = 0n;
  else {
    exponent += BIAS - 1023n;
    if (((bits >> 52n) & 0x7ffn) === 0n) {
      exponent += 1n;
      while (fraction < 2n ** 52n) {
        fraction <<= 1n;
        exponent -= 1n;
      }
    } else fraction |= 2n ** 52n;
    significand = fraction << 11n;
  }
  view.setBigUint64(at, significand, true);
  view.setBigUint64(at + 8, (sign << 15n) | exponent, true);
}

/** Reads a number, rounded to double (to nearest, ties to even). */
export function readExtended(view: DataView, at: number): number {
  const significand = view.getBigUint64(at, true);
  const word = view.getUint16(at + 8, true);
  const sign = word >> 15 ? -1 : 1;
  const exponent = word & 0x7fff;
  if (exponent === 0x7fff) return (significand & (2n ** 63n - 1n)) === 0n ? sign * Infinity : Number.NaN;
  if (significand === 0n) return sign * 0;
  // Bits that a double of this exponent holds: 53, fewer where it is subnormal.
  const power = exponent - Number(BIAS) - 63;
  const top = significand.toString(2).length + power;
  if (top < -1074) return sign * 0;
  const drop = Math.max(0, significand.toString(2).length - 53, -1074 - power);
  let kept = significand >> BigInt(drop);
  const rest = significand - (kept << BigInt(drop));
  const half = drop === 0 ? 1n : 1n << BigInt(drop - 1);
  if (drop > 0 && (rest > half || (rest === half && (kept & 1n) === 1n))) kept += 1n;
  return sign * scale(Number(kept), power + drop);
}

/** value × 2^power, exact where the result is; power may be beyond what a double can be. */
function scale(value: number, power: number): number {
  let result = value;
  let left = power;
  while (left > 1000) {
    result *= 2 ** 1000;
    left -= 1000;
  }
  while (left < -1000) {
    result *= 2 ** -1000;
    left += 1000;
  }
  return result * 2 ** left;
}
