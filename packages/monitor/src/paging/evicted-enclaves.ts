/**
 * Enclaves whose SECS was evicted. The monitor keeps the record; the ciphertext only proves the right to have it back. A
 * SECS can come back while its version exists: in a slot of a version array, which itself may be evicted under a version
 * in another one, and so on. Once that chain is broken nobody can ever load it, and the enclave is destroyed.
 */
import { invariant, MonitorError } from '../errors.js';
import { type EnclaveRecord, LOST_REASON, loseEnclave } from '../state/enclave.js';
import { endEnclave } from '../state/enclave-life.js';
import { NO_FRAME } from '../state/epcm.js';
import type { MonitorState } from '../state/state.js';

/** An enclave without a SECS in EPC. */
export interface EvictedEnclave {
  readonly enclave: EnclaveRecord;
  /** Version of the SECS, then of the evicted version arrays that lead to it; the last one lies in a slot. */
  readonly chain: number[];
}

/** The SECS of an enclave without children was evicted under `version`: its runner is frozen, its frame free. */
export function evictEnclave(s: MonitorState, enclave: EnclaveRecord, version: number): void {
  if (enclave.running !== null && enclave.running.lost === null) enclave.running.freeze();
  s.enclaves.delete(enclave.secsFrame);
  s.epcm.clear(enclave.secsFrame);
  enclave.secsFrame = NO_FRAME;
  s.evictedEnclaves.set(enclave.id, { enclave, chain: [version] });
}

/** The enclave whose SECS was evicted under `version`, or undefined. */
export function evictedUnder(s: MonitorState, id: number, version: number): EvictedEnclave | undefined {
  const evicted = s.evictedEnclaves.get(id);
  return evicted !== undefined && evicted.chain.length === 1 && evicted.chain[0] === version
    ? evicted
    : undefined;
}

/** The SECS is back, in `frame`, whose EPCM entry the caller filled. */
export function restoreEnclave(s: MonitorState, { enclave }: EvictedEnclave, frame: number): void {
  s.evictedEnclaves.delete(enclave.id);
  enclave.secsFrame = frame;
  s.enclaves.set(frame, enclave);
  if (enclave.running !== null && enclave.running.lost === null) enclave.running.unfreeze();
}

/** Evicted version arrays that may lie between a slot in EPC and an evicted SECS. */
export const MAX_CHAIN = 8;

/** The evicted enclaves that hang on the slots of the version array in `frame`. */
function behind(s: MonitorState, frame: number): EvictedEnclave[] {
  if (s.evictedEnclaves.size === 0) return [];
  const held = s.versions.held(frame);
  if (held.size === 0) return [];
  return [...s.evictedEnclaves.values()].filter(({ chain }) => held.has(chain.at(-1)!));
}

/** Throws MONITOR_LIMIT when the version array in `frame` must stay in EPC: too many others lead to a SECS through it. */
export function checkChains(s: MonitorState, frame: number): void {
  for (const { enclave, chain } of behind(s, frame))
    if (chain.length > MAX_CHAIN)
      throw new MonitorError(
        'MONITOR_LIMIT',
        `the SECS of enclave ${enclave.id} lies behind ${MAX_CHAIN} evicted version arrays already`,
        { advice: 'Load the SECS, or the version arrays that lead to it.' },
      );
}

/** The version array in `frame` was evicted under `version`: what hangs on its slots hangs on that version now. */
export function versionArrayEvicted(s: MonitorState, frame: number, version: number): void {
  for (const { chain } of behind(s, frame)) chain.push(version);
  s.versions.drop(frame);
  s.epcm.clear(frame);
}

/** The version array that was evicted under `version` is back: its slots hold again what hangs on them. */
export function versionArrayLoaded(s: MonitorState, version: number): void {
  for (const { chain } of s.evictedEnclaves.values()) {
    if (chain.at(-1) !== version) continue;
    chain.pop();
    invariant(chain.length > 0, `version ${version} is a SECS's and a version array's`);
  }
}

/** A slot's version was overwritten: what hangs on it is lost. */
export function versionLost(s: MonitorState, version: number): void {
  for (const evicted of [...s.evictedEnclaves.values()])
    if (evicted.chain.at(-1) === version) destroyEvicted(s, evicted);
}

/** All enclaves, those without a SECS in EPC last. */
export function allEnclaves(s: MonitorState): EnclaveRecord[] {
  return [...s.enclaves.values(), ...[...s.evictedEnclaves.values()].map((evicted) => evicted.enclave)];
}

/** EREMOVE of a version array: all versions in its slots are lost. */
export function removeVersionArray(s: MonitorState, frame: number): void {
  for (const evicted of behind(s, frame)) destroyEvicted(s, evicted);
  s.versions.drop(frame);
  s.epcm.clear(frame);
}

/** Ends an enclave whose SECS nobody can load any more. */
export function destroyEvicted(s: MonitorState, { enclave }: EvictedEnclave): void {
  loseEnclave(enclave, 'its SECS cannot be loaded any more', LOST_REASON.DETACHED);
  s.evictedEnclaves.delete(enclave.id);
  endEnclave(enclave);
}
