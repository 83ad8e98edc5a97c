/**
 * The key hierarchy: a 128-bit base key per KEYNAME takes the place of the processor's fused keys; a derived
 * key is AES-128-CMAC(base key, derivation data). Source: Intel SDM Vol. 3D, "EGETKEY", Table "Key Derivation".
 */
import { createHmac, randomBytes } from 'node:crypto';
import {
  KEYNAME_EINITTOKEN,
  KEYNAME_PROVISION,
  KEYNAME_PROVISION_SEAL,
  KEYNAME_REPORT,
  KEYNAME_SEAL,
} from '@nestedsgx/arch';
import { MonitorError } from '../errors.js';
import { CmacKey, wipe } from './cmac.js';

/** Report keys kept ready. */
const REPORT_KEYS = 8;

/** Base keys by KEYNAME, 16 bytes each. */
export interface BaseKeys {
  einittoken: Uint8Array;
  provision: Uint8Array;
  provisionSeal: Uint8Array;
  report: Uint8Array;
  seal: Uint8Array;
}

/** The processor's key registers. */
export class KeyHierarchy {
  /** CR_SGXOWNEREPOCH, 16 bytes. */
  readonly ownerEpoch: Uint8Array;
  /** CR_REPORT_KEYID, 32 bytes: fresh with every launch. */
  readonly reportKeyId: Uint8Array;
  readonly #base: readonly CmacKey[];
  /** Report keys in use lately, the latest first: making a cipher object costs more than the whole report. */
  readonly #reportKeys: { data: Uint8Array; key: CmacKey }[] = [];

  /** Copies nothing: the base keys are wiped once their schedules are set up. */
  constructor(keys: BaseKeys, ownerEpoch: Uint8Array, reportKeyId: Uint8Array) {
    if (ownerEpoch.length !== 16 || reportKeyId.length !== 32)
      throw new MonitorError('MONITOR_CONFIG', 'OWNEREPOCH has 16 bytes and REPORT_KEYID has 32');
    this.ownerEpoch = ownerEpoch;
    this.reportKeyId = reportKeyId;
    const base: CmacKey[] = [];
    base[KEYNAME_EINITTOKEN] = new CmacKey(keys.einittoken);
    base[KEYNAME_PROVISION] = new CmacKey(keys.provision);
    base[KEYNAME_PROVISION_SEAL] = new CmacKey(keys.provisionSeal);
    base[KEYNAME_REPORT] = new CmacKey(keys.report);
    base[KEYNAME_SEAL] = new CmacKey(keys.seal);
    this.#base = base;
    for (const key of Object.values(keys)) wipe(key);
  }

  /**
   * Keys of a machine whose root secret is `sealSecret` (32 bytes, bound to chip and launch digest). The report
   * base key is random: a report verifies within the launch that made it and nowhere else.
   */
  static fromSealSecret(sealSecret: Uint8Array, ownerEpoch: Uint8Array = new Uint8Array(16)): KeyHierarchy {
    if (sealSecret.length < 32)
      throw new MonitorError('MONITOR_CONFIG', `the seal secret has ${sealSecret.length} bytes, not 32`);
    const derive = (name: string) => {
      const mac = createHmac('sha256', sealSecret).update(`nestedsgx/sgx-base-key/v1\0${name}`).digest();
      const key = new Uint8Array(mac.subarray(0, 16));
      wipe(mac);
      return key;
    };
    const keys: BaseKeys = {
      einittoken: derive('EINITTOKEN'),
      provision: derive('PROVISION'),
      provisionSeal: derive('PROVISION_SEAL'),
      report: new Uint8Array(randomBytes(16)),
      seal: derive('SEAL'),
    };
    return new KeyHierarchy(keys, ownerEpoch, new Uint8Array(randomBytes(32)));
  }

  /** The MAC key of reports for the target that `data` (derivation data of a report key) describes. */
  reportMacKey(data: Uint8Array): CmacKey {
    const cache = this.#reportKeys;
    const found = cache.findIndex((entry) => Buffer.compare(entry.data, data) === 0);
    if (found >= 0) {
      const [entry] = cache.splice(found, 1);
      cache.unshift(entry);
      return entry.key;
    }
    const secret = this.derive(KEYNAME_REPORT, data);
    const key = new CmacKey(secret);
    wipe(secret);
    cache.unshift({ data: data.slice(), key });
    if (cache.length > REPORT_KEYS) cache.pop()?.key.destroy();
    return key;
  }

  /** AES-128-CMAC under the base key of `keyName` over the derivation data: 16 bytes, the caller's to wipe. */
  derive(keyName: number, data: Uint8Array): Uint8Array {
    return this.#base[keyName].tag(data);
  }
}
