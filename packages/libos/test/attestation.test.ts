/** /dev/attestation: what its files read and take; and a host that answers for quotes wrongly. */
import assert from 'node:assert/strict';
import { createHash, createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto';
import { after, before, test } from 'node:test';
import { generateKey, signImage } from '@nestedsgx/image/node';
import { Cvm } from '@nestedsgx/sdk';
import { type BuiltProgram, buildProgramImage, LIBOS_INTERFACE } from '../src/index.js';
import { hostHandlers } from '../src/run/host.js';
import { Inside } from './inside.js';
import { compile } from './programs.js';

const REPORT_DATA = 48 + 320;
const MRENCLAVE = 48 + 64;
let machine: Inside;
let program: string;
let image: BuiltProgram;
before(async () => {
  program = compile('attestation');
  image = buildProgramImage({ program });
  machine = await Inside.open();
});
after(() => machine[Symbol.asyncDispose]());

test('the files read, take and refuse what they do in Gramine', async () => {
  const { status, stdout, mrenclave } = await machine.run(image, [program]);
  const bytes = (length: number) => Buffer.from(Array.from({ length }, (_, i) => i + 1)).toString('hex');
  assert.equal(status, 0);
  assert.deepEqual(stdout.trim().split('\n'), [
    ...['type: 9 ', 'nestedsgx', 'short data: 3 ', 'report: 432 ', `data ${'616263'.padEnd(128, '0')}`],
    ...['long data: 80 ', 'own target: 512 ', `measurement ${mrenclave}`, 'target: 512 ', 'report: 432 '],
    ...[`data ${bytes(64)}`, `measurement ${mrenclave}`, 'quote: 1 ', `data ${bytes(64)}`],
    ...['write of quote: -1 EACCES', 'write of a sealing key: -1 EACCES'],
    ...['sealing key: 16 ', 'sealing key: 16 ', 'keys differ: 1', 'default key: 0 ', 'short key: -1 EACCES'],
    ...[
      'key: 16 ',
      'key: 16 ',
      'other key, not made: -1 ENOENT',
      'other key: 32 ',
      'other key again: -1 EEXIST',
    ],
    ...['other key: 32 ', 'as written: 1', 'truncate: -1 EACCES', 'unlink: 0 ', 'other file: -1 EROFS'],
    ...['sendfile: -1 EINVAL', 'copy_file_range: -1 EXDEV', 'two writes: 4 ', 'report: 432 '],
    ...['data 6162636400000000', 'certificate: 1 ', 'stat: 0 ', '400 0'],
  ]);
});

test('sealing keys are those of the measurement and of the signer', async () => {
  const other = buildProgramImage({ program, memory: 32 * 2 ** 20 });
  const keys = async (what: BuiltProgram) => {
    const files = ['keys/_sgx_mrenclave', 'keys/_sgx_mrsigner'];
    return (await machine.run(what, [program, ...files])).stdout.match(/.{16}/gs);
  };
  const [first, again, others] = [await keys(image), await keys(image), await keys(other)];
  assert.deepEqual(first, again);
  assert.notEqual(first?.[0], others?.[0]);
  assert.equal(first?.[1], others?.[1]);
});

test('the certificate is of the key, signed by it, with a quote for it', async () => {
  const { stdout, mrenclave } = await machine.run(image, [
    program,
    'tls/cert.pem',
    'tls/key.pem',
    'tls/cert.pem',
  ]);
  const [pem, key, again] = stdout.split(/(?<=-----END [A-Z ]+-----\n)/);
  assert.equal(again, pem);
  const certificate = new X509Certificate(pem);
  const spki = createPublicKey(createPrivateKey(key)).export({ type: 'spki', format: 'der' });
  assert.deepEqual(certificate.publicKey.export({ type: 'spki', format: 'der' }), spki);
  assert.ok(certificate.verify(certificate.publicKey));
  const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest();
  // {"pubkey-hash": h'[1, SHA-256 of the key]'}, in CBOR, behind the quote.
  const claims = Buffer.concat([
    Buffer.from('a16b7075626b65792d686173685824820158 20'.replace(' ', ''), 'hex'),
    sha256(spki),
  ]);
  const at = certificate.raw.indexOf(Buffer.from('d9ea608259', 'hex'));
  const quote = certificate.raw.subarray(at + 7, at + 7 + certificate.raw.readUInt16BE(at + 5));
  const behind = at + 7 + quote.length + 2;
  assert.deepEqual(certificate.raw.subarray(behind, behind + claims.length), claims);
  assert.deepEqual(
    quote.subarray(REPORT_DATA, REPORT_DATA + 64),
    Buffer.concat([sha256(claims), Buffer.alloc(32)]),
  );
  assert.equal(quote.subarray(MRENCLAVE, MRENCLAVE + 32).toString('hex'), mrenclave);
  const second = await machine.run(image, [program, 'tls/cert.pem']);
  assert.notEqual(second.stdout, pem, 'each run has a key of its own');
});

test('a host gets no report of its own, which would be evidence for its keys', async () => {
  const { privateKeyPem } = await generateKey();
  await using cvm = await Cvm.launch();
  await using enclave = await cvm.load(
    { sgxs: image.image, sig: signImage(image.image, privateKeyPem, image.signOptions) },
    LIBOS_INTERFACE,
    { ocalls: hostHandlers({ root: image.root }) as never },
  );
  assert.throws(() => enclave.attest({ reportData: new Uint8Array(64) }), {
    code: 'ENCLAVE_STATUS',
    message: /policy refuses/,
  });
});

test('a quote that is not of this enclave and its data is none', async () => {
  const { stdout } = await machine.run(image, [program, 'quote']);
  const real = Buffer.from(stdout, 'latin1');
  const target = new Uint8Array(512);
  const about = (report: Uint8Array, change?: (quote: Buffer) => Buffer): Buffer => {
    const quote = Buffer.from(real);
    quote.set(report.subarray(0, 384), 48);
    return change === undefined ? quote : change(quote);
  };
  const flipped = (at: number) => (quote: Buffer) => {
    quote[at]! ^= 1;
    return quote;
  };
  const answers: readonly [string, (report: Uint8Array) => Uint8Array, boolean][] = [
    ['of this report', (report) => about(report), true],
    ['nothing', () => new Uint8Array(0), false],
    ['an older quote', () => real.map((byte, i) => (i === REPORT_DATA ? byte ^ 1 : byte)), false],
    ['another measurement', (report) => about(report, flipped(MRENCLAVE)), false],
    ['other data', (report) => about(report, flipped(REPORT_DATA + 63)), false],
    ['another version', (report) => about(report, flipped(0)), false],
    ['a wrong length', (report) => about(report, flipped(432)), false],
    ['cut short', (report) => about(report, (quote) => quote.subarray(0, 436)), false],
    ['too long', (report) => Buffer.concat([about(report), Buffer.alloc(20_000)]), false],
  ];
  for (const [name, answer, good] of answers) {
    const host_attest = (report: Uint8Array) => (report.length === 0 ? target : answer(report));
    for (const file of ['quote', 'tls/cert.pem']) {
      const found = await machine.deceive(image, [program, file], { host_attest });
      assert.equal(found.status, good ? 0 : 1, `${name}: ${file}`);
      assert.equal(found.stdout.length > 0, good);
      const noted = found.notes.some((note) => note.includes('no quote of this enclave'));
      assert.equal(noted, !good, `${name}: a note`);
    }
  }
  const short = await machine.deceive(image, [program, 'quote'], { host_attest: () => target.subarray(1) });
  assert.equal(short.status, 1, 'no target');
});
