/** A measurement that mixes words instead of hashing them: EINIT compares digests, and nothing else depends on them. */
import type { MeasurementPort } from '@nestedsgx/monitor';
import { hashTag, mix, mixNumbers } from '../model/model.js';

/** Digests that stand for the low bits of the running hash. */
const DIGESTS = Array.from({ length: 8 }, (_, tag) => digestOfTag(tag));

/** ENCLAVEHASH for the low bits of a hash. */
export function digestOfTag(tag: number): Uint8Array {
  return new Uint8Array(32).fill(0x40 + (tag & 7));
}

/** The measurement of one enclave in the monitor. */
export class SimMeasurement implements MeasurementPort {
  /** The running hash: the model has its own, and they must agree. */
  hash = 1;

  ecreate(ssaFrameSize: number, size: bigint): void {
    this.hash = mixNumbers(this.hash, ssaFrameSize, Number(size));
  }
  eadd(offset: bigint, secinfo: Uint8Array): void {
    this.hash = mix(mixNumbers(this.hash, 2, Number(offset)), secinfo, 0, 64);
  }
  eextend(offset: bigint, chunk: Uint8Array): void {
    this.hash = mix(mixNumbers(this.hash, 3, Number(offset)), chunk, 0, 256);
  }
  addPages(): void {
    throw new Error('bulk calls are not simulated');
  }
  digest(): Uint8Array {
    return DIGESTS[hashTag(this.hash)].slice();
  }
}
