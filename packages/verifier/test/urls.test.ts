import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  amdCrlUrl,
  certChainUrl,
  INTEL_ROOT_CRL_URL,
  KDS_ADDRESS,
  PCS_ADDRESS,
  pckCertificateUrl,
  pckCrlUrl,
  qeIdentityUrl,
  rootCrlUrl,
  tcbInfoUrl,
  VerifierError,
  vcekUrl,
} from '../src/index.js';

const TCB = { fmc: null, bootloader: 2, tee: 0, snp: 5, microcode: 68 };
const CHIP = '0123456789abcdef'.repeat(8);

const refused = (action: () => unknown) =>
  assert.throws(action, (error) => error instanceof VerifierError && error.code === 'FETCH_OPTIONS');

test("AMD's service is asked as its specification says", () => {
  assert.equal(
    vcekUrl(KDS_ADDRESS, 'Milan', CHIP, TCB),
    `https://kdsintf.amd.com/vcek/v1/Milan/${CHIP}?blSPL=02&teeSPL=00&snpSPL=05&ucodeSPL=68`,
  );
  assert.equal(
    vcekUrl(KDS_ADDRESS, 'Genoa', CHIP, { ...TCB, microcode: 213 }),
    `https://kdsintf.amd.com/vcek/v1/Genoa/${CHIP}?blSPL=02&teeSPL=00&snpSPL=05&ucodeSPL=213`,
  );
  assert.equal(
    vcekUrl(KDS_ADDRESS, 'Turin', CHIP.slice(0, 16), { ...TCB, fmc: 1 }),
    'https://kdsintf.amd.com/vcek/v1/Turin/0123456789abcdef?fmcSPL=01&blSPL=02&teeSPL=00&snpSPL=05&ucodeSPL=68',
  );
  assert.equal(
    certChainUrl(KDS_ADDRESS, 'VCEK', 'Milan'),
    'https://kdsintf.amd.com/vcek/v1/Milan/cert_chain',
  );
  assert.equal(
    certChainUrl(KDS_ADDRESS, 'VLEK', 'Genoa'),
    'https://kdsintf.amd.com/vlek/v1/Genoa/cert_chain',
  );
  assert.equal(amdCrlUrl(KDS_ADDRESS, 'VCEK', 'Turin'), 'https://kdsintf.amd.com/vcek/v1/Turin/crl');
  assert.equal(amdCrlUrl(KDS_ADDRESS, 'VLEK', 'Milan'), 'https://kdsintf.amd.com/vlek/v1/Milan/crl');
});

test('chip ids and levels that are not the product’s are refused', () => {
  refused(() => vcekUrl(KDS_ADDRESS, 'Turin', CHIP, { ...TCB, fmc: 1 }));
  refused(() => vcekUrl(KDS_ADDRESS, 'Milan', CHIP.slice(0, 16), TCB));
  refused(() => vcekUrl(KDS_ADDRESS, 'Milan', `${CHIP.slice(0, 126)}/.`, TCB));
  refused(() => vcekUrl(KDS_ADDRESS, 'Turin', CHIP.slice(0, 16), TCB));
  refused(() => vcekUrl(KDS_ADDRESS, 'Milan', CHIP, { ...TCB, snp: 256 }));
});

test("Intel's service and PCCSs are asked as the API of version 4 says", () => {
  const base = 'https://api.trustedservices.intel.com';
  assert.equal(
    pckCrlUrl(PCS_ADDRESS, 'platform'),
    `${base}/sgx/certification/v4/pckcrl?ca=platform&encoding=der`,
  );
  assert.equal(
    pckCrlUrl(PCS_ADDRESS, 'processor'),
    `${base}/sgx/certification/v4/pckcrl?ca=processor&encoding=der`,
  );
  assert.equal(rootCrlUrl(undefined), INTEL_ROOT_CRL_URL);
  assert.equal(rootCrlUrl('https://pccs:8081'), 'https://pccs:8081/sgx/certification/v4/rootcacrl');
  assert.equal(
    tcbInfoUrl(PCS_ADDRESS, 'sgx', '00906ea10000'),
    `${base}/sgx/certification/v4/tcb?fmspc=00906EA10000`,
  );
  assert.equal(
    tcbInfoUrl(PCS_ADDRESS, 'tdx', 'b0c06f000000', 'early'),
    `${base}/tdx/certification/v4/tcb?fmspc=B0C06F000000&update=early`,
  );
  assert.equal(qeIdentityUrl(PCS_ADDRESS, 'sgx'), `${base}/sgx/certification/v4/qe/identity`);
  assert.equal(
    qeIdentityUrl(PCS_ADDRESS, 'tdx', 'standard'),
    `${base}/tdx/certification/v4/qe/identity?update=standard`,
  );
  const ids = { encryptedPpid: 'ab', cpuSvn: '0f', pceSvn: '0d00', pceId: '0000', qeId: 'cd' };
  assert.equal(
    pckCertificateUrl(PCS_ADDRESS, ids, false),
    `${base}/sgx/certification/v4/pckcert?encrypted_ppid=AB&cpusvn=0F&pcesvn=0D00&pceid=0000`,
  );
  assert.equal(
    pckCertificateUrl('https://pccs', ids, true),
    'https://pccs/sgx/certification/v4/pckcert?qeid=CD&encrypted_ppid=AB&cpusvn=0F&pcesvn=0D00&pceid=0000',
  );
  refused(() => tcbInfoUrl(PCS_ADDRESS, 'sgx', '00906ea1000'));
  refused(() => tcbInfoUrl(PCS_ADDRESS, 'sgx', '00906ea1&x=y'));
});
