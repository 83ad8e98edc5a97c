/** Signing shared objects of Intel's SDK: against what Intel's tool writes, in two steps, and what is refused. */
import assert from 'node:assert/strict';
import { createHash, createPublicKey, sign, verify } from 'node:crypto';
import test from 'node:test';
import { NsgxError, SIGSTRUCT, verifySigstruct } from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import fc from 'fast-check';
import {
  CSS_KEY,
  checkSigningData,
  type EnclaveConfigInit,
  EXTEND_ENTRY,
  enclaveConfig,
  loadSignedSo,
  parseEnclaveConfig,
  type SignSharedObjectOptions,
  sharedObjectRequest,
  signingDate,
} from '../src/index.js';
import { attachToSharedObject, generateKey, loadPublicModulus, signSharedObject } from '../src/node/index.js';
import { plainMrenclave } from './plain-loader.js';
import { EXPECTED_SIGNED_SO, TEST_DATE, TEST_KEY } from './signed-so-expected.js';
import { ENTRY, GLOBAL_DATA_FILE, type UnsignedSoInit, unsignedSo } from './unsigned-so-samples.js';

const hex = (b: Uint8Array): string => Buffer.from(b).toString('hex');
const publicKey = createPublicKey(TEST_KEY).export({ type: 'spki', format: 'pem' });

function configXml(elements: Readonly<Record<string, string | number>>): string {
  const rows = Object.entries(elements).map(([name, value]) => `  <${name}>${value}</${name}>\n`);
  return `<EnclaveConfiguration>\n${rows.join('')}</EnclaveConfiguration>\n`;
}

function signed(
  so: UnsignedSoInit = {},
  config: EnclaveConfigInit = {},
  options: SignSharedObjectOptions = {},
): Uint8Array {
  return signSharedObject(unsignedSo(so), enclaveConfig(config), TEST_KEY, { date: TEST_DATE, ...options });
}

function refuses(f: () => unknown, code: string, message?: RegExp): void {
  assert.throws(f, (e) => {
    assert.ok(e instanceof NsgxError, String(e));
    assert.equal(e.code, code, e.message);
    if (message !== undefined) assert.match(e.message, message);
    return true;
  });
}

for (const { name, so, config, versions, mrenclave, sha256 } of EXPECTED_SIGNED_SO) {
  test(`every byte is as Intel's tool writes it: ${name}`, () => {
    const file = signSharedObject(unsignedSo(so), parseEnclaveConfig(configXml(config)), TEST_KEY, {
      date: TEST_DATE,
      allowTextRelocations: so.textrel,
    });
    const image = loadSignedSo(file);
    const { blocks } = image.source;
    assert.equal(blocks.map(({ version }) => `${version.major}.${version.minor}`).join(' '), versions);
    const sigstruct = SIGSTRUCT.decode(image.sigstruct);
    assert.equal(hex(sigstruct.ENCLAVEHASH), mrenclave);
    verifySigstruct(nodeHash, image.sigstruct);
    // The loader of the tests knows nothing of the signer; loaders with and without EDMM must agree.
    for (const { fileOffset } of blocks)
      assert.equal(plainMrenclave(Buffer.from(file), fileOffset), mrenclave);
    assert.equal(createHash('sha256').update(file).digest('hex'), sha256);
  });
}

test('two steps give the file that one step gives, and the first step shows what is signed', () => {
  const so = unsignedSo();
  const config = enclaveConfig({ TCSNum: 3, ProdID: 5 });
  const first = sharedObjectRequest(nodeHash, so, config, { date: TEST_DATE });
  assert.equal(first.data.length, 256);
  assert.equal(signingDate(first.data), TEST_DATE);
  const signature = new Uint8Array(sign('sha256', first.data, TEST_KEY));
  const second = sharedObjectRequest(nodeHash, so, config, { date: signingDate(first.data) });
  checkSigningData(first.data, second);
  const file = attachToSharedObject(second, loadPublicModulus(publicKey), signature);
  assert.deepEqual(file, signSharedObject(so, config, TEST_KEY, { date: TEST_DATE }));

  const other = (more: EnclaveConfigInit, date = TEST_DATE) =>
    sharedObjectRequest(nodeHash, so, enclaveConfig({ TCSNum: 3, ProdID: 5, ...more }), { date });
  refuses(() => checkSigningData(first.data, other({ ProdID: 6 })), 'SIGN_REQUEST', /ISVPRODID/);
  refuses(() => checkSigningData(first.data, other({ TCSNum: 4 })), 'SIGN_REQUEST', /ENCLAVEHASH/);
  refuses(() => checkSigningData(first.data, other({ DisableDebug: 1 })), 'SIGN_REQUEST', /ATTRIBUTEMASK/);
  refuses(() => checkSigningData(first.data, other({}, '20260201')), 'SIGN_REQUEST', /DATE/);
  refuses(() => signingDate(first.data.subarray(1)), 'SIGN_REQUEST', /255 bytes/);
  refuses(
    () => attachToSharedObject(other({ ProdID: 6 }), loadPublicModulus(publicKey), signature),
    'SIGN_RESULT',
  );
});

test('a signature of another key is refused', async () => {
  const stranger = await generateKey();
  const request = sharedObjectRequest(nodeHash, unsignedSo(), enclaveConfig(), { date: TEST_DATE });
  const signature = new Uint8Array(sign('sha256', request.data, stranger.privateKeyPem));
  assert.throws(
    () => attachToSharedObject(request, loadPublicModulus(publicKey), signature),
    // By chance the number is not below this key's modulus, which is found first.
    (e) => e instanceof NsgxError && ['SIGN_RESULT', 'SIGSTRUCT_KEY'].includes(e.code),
  );
});

test("FIPS mode adds a second signature by a fresh key; all else is as Intel's tool writes it", () => {
  const config = parseEnclaveConfig(
    configXml({
      EnableIPPFIPS: 1,
      TCSNum: 2,
      ELRangeSize: '0x8000000',
      EnclaveImageAddress: '0x2000',
      MiscSelect: 1,
      MiscMask: '0xFFFFFFFE',
    }),
  );
  const file = Buffer.from(signSharedObject(unsignedSo(), config, TEST_KEY, { date: TEST_DATE }));
  const { sigstruct, source } = loadSignedSo(file);
  assert.equal(source.blocks.length, 2);
  for (const { bytes, fileOffset, metadata } of source.blocks) {
    const { offset } = EXTEND_ENTRY.decode(bytes, metadata.dirs[3].offset);
    const { modulus, exponent, signature } = CSS_KEY.decode(bytes, offset);
    assert.equal(exponent, 65537);
    const jwk = { kty: 'RSA', n: Buffer.from(modulus).reverse().toString('base64url'), e: 'AQAB' };
    assert.ok(verify('sha256', sigstruct, createPublicKey({ key: jwk, format: 'jwk' }), signature));
    file.fill(0, fileOffset + offset, fileOffset + offset + CSS_KEY.size);
  }
  // Of sgx_sign's file, likewise without the key and signature that it made.
  assert.equal(
    createHash('sha256').update(file).digest('hex'),
    '440e90c8b5e20122d5967ffd0f72e2f15dc063eff1c1e1aeb1aee036b91caf89',
  );
  refuses(
    () => signed({ sdk: 24 }, { EnableIPPFIPS: 1 }),
    'SIGN_CONFIG_ELEMENT',
    /EnableIPPFIPS.*2\.24\.100/,
  );
});

test('only metadata change in the file, and signing again replaces them', () => {
  const so = unsignedSo();
  const file = signed();
  const noteAt = loadSignedSo(file).source.blocks[0].fileOffset;
  for (let i = 0; i < so.length; i++)
    if (i < noteAt || i >= noteAt + 0x6000) assert.equal(file[i], so[i], `byte ${i}`);
  const again = (options: SignSharedObjectOptions) =>
    signSharedObject(file, enclaveConfig({ ProdID: 9 }), TEST_KEY, { date: TEST_DATE, ...options });
  refuses(() => again({}), 'SIGN_ALREADY_SIGNED');
  assert.deepEqual(again({ resign: true }), signed({}, { ProdID: 9 }));
});

test('what the runtime is told lies where the layout has it', () => {
  const { source } = loadSignedSo(signed({ tls: { size: 5000, align: 16 } }, { TCSNum: 2 }));
  const data = Buffer.from(source.patched.subarray(GLOBAL_DATA_FILE, GLOBAL_DATA_FILE + 1768));
  const find = (name: string) => source.layout.find((range) => range.name === name)!;
  const signedWord = (at: number): number => Number(BigInt.asIntN(64, data.readBigUInt64LE(at)));
  const tcs = find('TCS');
  assert.equal(signedWord(8), Number(source.chosen.metadata.enclave_size));
  assert.equal(signedWord(16), find('HEAP_MIN').rva);
  const td = find('TD');
  assert.equal(td.pages, 3);
  assert.equal(signedWord(80) + tcs.rva, td.rva + 2 * 4096, 'self_addr is the last page of TD');
  assert.equal(signedWord(80 + 104) + tcs.rva, td.rva + 2 * 4096 - 5008, 'storage is aligned before it');
  const stack = find('STACK_MIN');
  assert.equal(signedWord(80 + 16) + tcs.rva, stack.rva + stack.pages * 4096, 'the stack begins at its end');
  assert.equal(tcs.entry.content_size, 72);
  const template = Buffer.from(source.chosen.bytes).subarray(tcs.entry.content_offset);
  assert.equal(Number(template.readBigUInt64LE(32)), ENTRY);
});

test('what is no enclave is refused, with what to do', () => {
  const cases: [UnsignedSoInit, string, RegExp][] = [
    [{ symbols: ['enclave_entry'] }, 'SIGN_SHARED_OBJECT', /g_global_data/],
    [{ symbols: ['enclave_entry', 'g_global_data', 'printf?'] }, 'SIGN_SHARED_OBJECT', /printf is undefined/],
    [{ sections: ['.init'] }, 'SIGN_SHARED_OBJECT', /\.init/],
    [{ sections: ['.ctors'] }, 'SIGN_SHARED_OBJECT', /\.ctors/],
    [{ relocations: [0x900] }, 'SIGN_SHARED_OBJECT', /\.text at 0x900/],
    [{ relocationType: 37 }, 'IMAGE_ELF', /type 37/],
    [{ sdk: 19 }, 'SIGN_SDK_VERSION', /2\.19\.100/],
    [{ sdk: 31 }, 'SIGN_SDK_VERSION', /2\.31\.100; known are 2\.20\.100 to 2\.30\.100/],
    [{ noteName: 'sgx_something' }, 'SIGN_SHARED_OBJECT', /sgx_metadata/],
    [{ noteSays: 0x5000 }, 'SIGN_SHARED_OBJECT', /20480/],
    [{ room: 4000 }, 'SIGN_METADATA_ROOM', /needs \d{4} bytes.*reserves 4000/],
    [{ tls: { size: 16, align: 24 } }, 'IMAGE_ELF', /PT_TLS.*power of two/],
    [{ tls: { size: 2 ** 40, align: 8 } }, 'IMAGE_ELF', /PT_TLS/],
    [{ bss: 2 ** 37 }, 'IMAGE_ELF', /p_memsz/],
  ];
  for (const [so, code, message] of cases) refuses(() => signed(so), code, message);
  signed({ sections: ['.init'] }, {}, { allowInitSection: true });
  signed({ relocations: [0x900], textrel: true }, {}, { allowTextRelocations: true });
  assert.equal(
    sharedObjectRequest(nodeHash, unsignedSo({ symbols: ['g_global_data'] }), enclaveConfig()).simulation,
    false,
    'without enclave_entry the ELF entry counts',
  );
  const simulated = unsignedSo({ symbols: ['enclave_entry', 'g_global_data', 'g_global_data_sim'] });
  assert.equal(sharedObjectRequest(nodeHash, simulated, enclaveConfig()).simulation, true);
  refuses(() => signSharedObject(Buffer.from('no ELF'), enclaveConfig(), TEST_KEY), 'IMAGE_ELF', /magic/);
  refuses(() => signed({}, {}, { limits: { maxFileBytes: 1000 } }), 'IMAGE_TOO_LARGE');
  refuses(() => signed({}, {}, { date: '20261301' }), 'SIGN_OPTION');
});

test('enclaves that would be too large are refused before anything is laid out', () => {
  refuses(() => signed({}, { HeapMaxSize: 2n ** 62n }), 'IMAGE_TOO_LARGE', /HeapMaxSize/);
  refuses(() => signed({}, { TCSNum: 0xffff_ffff }), 'IMAGE_TOO_LARGE', /TCSMaxNum/);
  refuses(
    () => signed({}, { HeapMaxSize: 2n ** 36n - 2n ** 18n }),
    'IMAGE_TOO_LARGE',
    /would have 0x2000000000/,
  );
  refuses(
    () => signed({}, { ELRangeSize: 0x100_0000, EnclaveImageAddress: 0x1000 }),
    'SIGN_CONFIG_ELEMENT',
    /ELRangeSize is 0x1000000.*EnclaveImageAddress 0x1000/,
  );
});

test('fuzz: damaged shared objects end in typed errors or in files that load', () => {
  const whole = unsignedSo({ tls: { size: 40, align: 8 } });
  const config = enclaveConfig({ HeapMaxSize: 0x4000, HeapMinSize: 0x1000, StackMaxSize: 0x4000 });
  // Headers, symbols, relocations, dynamic section, note and section headers: where a byte can matter.
  const places = [0, 0x200, 0x400, 0x600, 0x1e00, 0x2000, 0x2e00, whole.length - 512];
  fc.assert(
    fc.property(fc.constantFrom(...places), fc.nat(511), fc.nat(255), fc.boolean(), (from, at, v, cut) => {
      const b = cut ? whole.subarray(0, from + at) : Buffer.from(whole);
      if (!cut) b[from + at] = v;
      try {
        const { signedFile, unsigned } = sharedObjectRequest(nodeHash, b, config);
        loadSignedSo(signedFile(unsigned));
      } catch (e) {
        assert.ok(e instanceof NsgxError, String((e as Error).stack));
      }
    }),
    { numRuns: Number(process.env['NSGX_FUZZ_RUNS'] ?? 400), seed: 20260131 },
  );
});
