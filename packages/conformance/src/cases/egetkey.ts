/** ENCLU[EGETKEY]. Source: Intel SDM Vol. 3D, "EGETKEY—Retrieves a Cryptographic Key". */
import assert from 'node:assert/strict';
import {
  ATTRIBUTES_KSS,
  ENCLU,
  KEYNAME_EINITTOKEN,
  KEYNAME_PROVISION,
  KEYNAME_SEAL,
  KEYPOLICY_CONFIGID,
  KEYPOLICY_ISVEXTPRODID,
  KEYPOLICY_ISVFAMILYID,
  KEYPOLICY_MRENCLAVE,
  KEYPOLICY_MRSIGNER,
  KEYPOLICY_NOISVPRODID,
  KEYREQUEST,
} from '@nestedsgx/arch';
import type { ConformanceCase } from '../case.js';
import { AT, type ProbeOptions } from '../probe/image.js';
import type { Probe, Result } from '../probe/probe.js';
import { gp, pf, returned, succeeded } from './expect.js';

const leaf = 'EGETKEY';
const REQUEST = AT.DATA;
const OUT = AT.DATA + 0x1000;

type Request = Parameters<typeof KEYREQUEST.encode>[0];

function ask(p: Probe, request: Request): Result {
  p.write(REQUEST, KEYREQUEST.encode(request));
  return p.enclu(ENCLU.EGETKEY, p.at(REQUEST), p.at(OUT));
}

/** The key as hexadecimal. */
function key(p: Probe, request: Request): string {
  succeeded(ask(p, request));
  return Buffer.from(p.read(OUT, 16)).toString('hex');
}

const SEAL = { KEYNAME: KEYNAME_SEAL, KEYPOLICY: KEYPOLICY_MRSIGNER };

/** A case that two requests of one enclave, or of two, give different keys. */
function differ(
  id: string,
  title: string,
  first: [ProbeOptions, Request],
  second: [ProbeOptions, Request],
): ConformanceCase {
  return {
    leaf,
    id,
    title,
    ...((first[0].attributes ?? 0n) & ATTRIBUTES_KSS ? { needs: ['kss'] as const } : {}),
    run: (c) => {
      const [a, b] = [first, second].map(([options, request]) => key(c.probe(options), request));
      assert.notEqual(a, b);
    },
  };
}

const kss = (options: ProbeOptions): ProbeOptions => ({ ...options, attributes: ATTRIBUTES_KSS });
const bytes = (length: number, value: number) => new Uint8Array(length).fill(value);

/** Cases of EGETKEY. */
export const EGETKEY_CASES: readonly ConformanceCase[] = [
  {
    leaf,
    id: 'deterministic',
    title: 'Equal requests of equal enclaves give equal keys',
    run: (c) => assert.equal(key(c.probe(), SEAL), key(c.probe(), SEAL)),
  },
  {
    leaf,
    id: 'mrsigner-policy',
    title: 'With the MRSIGNER policy an enclave of the same signer and product gives the same key',
    run: (c) => {
      const other = { offset: AT.FREE, data: bytes(4096, 1), flags: 0x203, measured: true };
      assert.equal(key(c.probe(), SEAL), key(c.probe({ extra: [other] }), SEAL));
    },
  },
  {
    leaf,
    id: 'mrenclave-policy',
    title: 'With the MRENCLAVE policy another enclave of the same signer gives another key',
    run: (c) => {
      const request = { KEYNAME: KEYNAME_SEAL, KEYPOLICY: KEYPOLICY_MRENCLAVE };
      const other = { offset: AT.FREE, data: bytes(4096, 1), flags: 0x203, measured: true };
      assert.notEqual(key(c.probe(), request), key(c.probe({ extra: [other] }), request));
    },
  },
  differ('keyid', 'KEYID changes the key', [{}, SEAL], [{}, { ...SEAL, KEYID: bytes(32, 1) }]),
  differ(
    'isvprodid',
    'Another ISVPRODID gives another key',
    [{ isvProdId: 1 }, SEAL],
    [{ isvProdId: 2 }, SEAL],
  ),
  differ(
    'isvsvn',
    'A lower ISVSVN in the request gives another key',
    [{}, SEAL],
    [{}, { ...SEAL, ISVSVN: 1 }],
  ),
  differ(
    'attribute-mask',
    'Attributes that the mask selects enter the key',
    [{ attributes: 2n }, { ...SEAL, ATTRIBUTEMASK: { FLAGS: 0n, XFRM: 4n } }],
    [
      { attributes: 2n, xfrm: 7n },
      { ...SEAL, ATTRIBUTEMASK: { FLAGS: 0n, XFRM: 4n } },
    ],
  ),
  differ(
    'debug',
    'A debug enclave never gets the key of a production enclave',
    [{}, SEAL],
    [{ attributes: 2n }, SEAL],
  ),
  differ(
    'kss-configid',
    'KSS: with the CONFIGID policy another CONFIGID gives another key',
    [kss({ configId: bytes(64, 1) }), { ...SEAL, KEYPOLICY: SEAL.KEYPOLICY | KEYPOLICY_CONFIGID }],
    [kss({ configId: bytes(64, 2) }), { ...SEAL, KEYPOLICY: SEAL.KEYPOLICY | KEYPOLICY_CONFIGID }],
  ),
  differ(
    'kss-family',
    'KSS: with the ISVFAMILYID policy another family gives another key',
    [kss({ isvFamilyId: bytes(16, 1) }), { ...SEAL, KEYPOLICY: SEAL.KEYPOLICY | KEYPOLICY_ISVFAMILYID }],
    [kss({ isvFamilyId: bytes(16, 2) }), { ...SEAL, KEYPOLICY: SEAL.KEYPOLICY | KEYPOLICY_ISVFAMILYID }],
  ),
  differ(
    'kss-extended-product',
    'KSS: with the ISVEXTPRODID policy another extended product gives another key',
    [kss({ isvExtProdId: bytes(16, 1) }), { ...SEAL, KEYPOLICY: SEAL.KEYPOLICY | KEYPOLICY_ISVEXTPRODID }],
    [kss({ isvExtProdId: bytes(16, 2) }), { ...SEAL, KEYPOLICY: SEAL.KEYPOLICY | KEYPOLICY_ISVEXTPRODID }],
  ),
  {
    leaf,
    id: 'kss-noisvprodid',
    title: 'KSS: with NOISVPRODID products of one signer share the key',
    needs: ['kss'],
    run: (c) => {
      const request = { ...SEAL, KEYPOLICY: SEAL.KEYPOLICY | KEYPOLICY_NOISVPRODID };
      assert.equal(
        key(c.probe(kss({ isvProdId: 1 })), request),
        key(c.probe(kss({ isvProdId: 2 })), request),
      );
    },
  },
  {
    leaf,
    id: 'kss-needed',
    title: 'KSS policies without ATTRIBUTES.KSS are #GP(0)',
    run: (c) => gp(ask(c.probe(), { ...SEAL, KEYPOLICY: KEYPOLICY_MRSIGNER | KEYPOLICY_CONFIGID })),
  },
  {
    leaf,
    id: 'kss-configsvn-beyond',
    title: 'KSS: a CONFIGSVN beyond the enclave’s is SGX_INVALID_ISVSVN',
    needs: ['kss'],
    run: (c) => {
      const p = c.probe(kss({ configSvn: 3 }));
      returned(ask(p, { ...SEAL, CONFIGSVN: 4 }), 'SGX_INVALID_ISVSVN');
      succeeded(ask(p, { ...SEAL, CONFIGSVN: 3 }));
    },
  },
  {
    leaf,
    id: 'isvsvn-beyond',
    title: 'An ISVSVN beyond the enclave’s is SGX_INVALID_ISVSVN',
    run: (c) => returned(ask(c.probe({ isvSvn: 2 }), { ...SEAL, ISVSVN: 3 }), 'SGX_INVALID_ISVSVN'),
  },
  {
    leaf,
    id: 'cpusvn-beyond',
    title: 'A CPUSVN beyond the processor’s is SGX_INVALID_CPUSVN',
    run: (c) => returned(ask(c.probe(), { ...SEAL, CPUSVN: bytes(16, 0xff) }), 'SGX_INVALID_CPUSVN'),
  },
  {
    leaf,
    id: 'provision-attribute',
    title: 'The provisioning key without PROVISIONKEY is SGX_INVALID_ATTRIBUTE',
    run: (c) => returned(ask(c.probe(), { KEYNAME: KEYNAME_PROVISION }), 'SGX_INVALID_ATTRIBUTE'),
  },
  {
    leaf,
    id: 'einittoken-attribute',
    title: 'The EINIT token key without EINITTOKEN_KEY is SGX_INVALID_ATTRIBUTE',
    run: (c) => returned(ask(c.probe(), { KEYNAME: KEYNAME_EINITTOKEN }), 'SGX_INVALID_ATTRIBUTE'),
  },
  {
    leaf,
    id: 'keyname',
    title: 'A KEYNAME that does not exist is SGX_INVALID_KEYNAME',
    run: (c) => returned(ask(c.probe(), { KEYNAME: 99 }), 'SGX_INVALID_KEYNAME'),
  },
  {
    leaf,
    id: 'reserved',
    title: 'A reserved bit of KEYPOLICY is #GP(0)',
    run: (c) => gp(ask(c.probe(), { ...SEAL, KEYPOLICY: 0x8001 })),
  },
  {
    leaf,
    id: 'keyrequest-aligned',
    title: 'KEYREQUEST that is not 512-byte aligned is #GP(0)',
    run: (c) => {
      const p = c.probe();
      gp(p.enclu(ENCLU.EGETKEY, p.at(REQUEST + 256), p.at(OUT)));
    },
  },
  {
    leaf,
    id: 'output-aligned',
    title: 'OUTPUTDATA that is not 16-byte aligned is #GP(0)',
    run: (c) => {
      const p = c.probe();
      gp(p.enclu(ENCLU.EGETKEY, p.at(REQUEST), p.at(OUT + 8)));
    },
  },
  {
    leaf,
    id: 'output-writable',
    title: 'OUTPUTDATA on a page without W is #PF there',
    run: (c) => {
      const p = c.probe();
      p.write(REQUEST, KEYREQUEST.encode(SEAL));
      pf(p.enclu(ENCLU.EGETKEY, p.at(REQUEST), p.at(AT.CONSTANT)), p.at(AT.CONSTANT));
    },
  },
];
