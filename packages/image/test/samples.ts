/** Enclaves for the tests, and the SGXS stream written a second time in the plainest way. */
import { createHash } from 'node:crypto';
import type { PageRun } from '../src/index.js';

/** Pseudo-random bytes. */
export function noise(length: number, seed: number): Uint8Array {
  const b = new Uint8Array(length);
  let x = seed | 1;
  for (let i = 0; i < length; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) | 0;
    b[i] = x >>> 24;
  }
  return b;
}

/** A small enclave: code, data, a TCS, an SSA page and heap that is not measured. */
export function sampleRuns(codePages = 3): PageRun[] {
  const at = codePages * 4096;
  const sparse = new Uint8Array(4096);
  sparse[700] = 9;
  return [
    { offset: 0, secinfoFlags: 0x205, data: noise(at, 1), measured: true },
    { offset: at, secinfoFlags: 0x203, data: noise(8192, 2), measured: true },
    { offset: at + 8192, secinfoFlags: 0x100, data: noise(4096, 3), measured: true },
    { offset: at + 12288, secinfoFlags: 0x203, data: new Uint8Array(4096), measured: true },
    { offset: at + 16384, secinfoFlags: 0x203, data: new Uint8Array(3 * 4096), measured: false },
    { offset: at + 28672 + 4096, secinfoFlags: 0x203, data: sparse, measured: false },
  ];
}

/** The bytes of an SGXS file and its MRENCLAVE, block by block; `keepZero` writes zero UNMEASRD chunks too. */
export function plainSgxs(
  size: number,
  ssaFrameSize: number,
  runs: readonly PageRun[],
  keepZero = false,
): { bytes: Buffer; mrenclave: string } {
  const out: Buffer[] = [];
  const hash = createHash('sha256');
  const put = (b: Buffer, measured: boolean) => {
    out.push(b);
    if (measured) hash.update(b);
  };
  const block = (tag: string) => {
    const b = Buffer.alloc(64);
    b.write(tag, 'latin1');
    return b;
  };
  const first = block('ECREATE');
  first.writeUInt32LE(ssaFrameSize, 8);
  first.writeBigUInt64LE(BigInt(size), 12);
  put(first, true);
  for (const run of runs) {
    for (let p = 0; p < run.data.length; p += 4096) {
      const eadd = block('EADD');
      eadd.writeBigUInt64LE(BigInt(run.offset + p), 8);
      eadd.writeBigUInt64LE(BigInt(run.secinfoFlags), 16);
      put(eadd, true);
      for (let c = p; c < p + 4096; c += 256) {
        const chunk = Buffer.from(run.data.subarray(c, c + 256));
        if (!run.measured && !keepZero && chunk.every((x) => x === 0)) continue;
        const b = block(run.measured ? 'EEXTEND' : 'UNMEASRD');
        b.writeBigUInt64LE(BigInt(run.offset + c), 8);
        put(b, run.measured);
        put(chunk, run.measured);
      }
    }
  }
  return { bytes: Buffer.concat(out), mrenclave: hash.digest('hex') };
}

/** Pages by offset, for comparing images however their runs are cut. */
export function byPage(runs: Iterable<PageRun>): Map<number, string> {
  const out = new Map<number, string>();
  for (const run of runs) {
    for (let p = 0; p < run.data.length; p += 4096) {
      const digest = createHash('sha256')
        .update(run.data.subarray(p, p + 4096))
        .digest('hex');
      out.set(run.offset + p, `${run.secinfoFlags} ${run.measured} ${digest}`);
    }
  }
  return out;
}
