import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { encodeNestedCertificationData, encodeQuote3, parseQuote3, QUOTE3_HEADER } from '@nestedsgx/arch';
import {
  ATTEST_ERRORS,
  AttestError,
  decodeEvidence,
  evidenceFormat,
  parseNestedQuote,
} from '../src/index.js';
import { hex, MRENCLAVE, makeEvidence, TestMachine } from './producer.js';

describe('decoding', () => {
  test('every field of this system’s evidence is named', async () => {
    const machine = await TestMachine.make();
    const evidence = await makeEvidence(machine);
    assert.equal(evidenceFormat(evidence), 'evidence');
    const fields = decodeEvidence(evidence) as unknown as {
      format: string;
      header: Record<string, unknown>;
      body: Record<string, unknown>;
      snpReport: Record<string, unknown>;
      certificates: Record<string, unknown>[];
    };
    assert.equal(fields.format, 'evidence');
    assert.equal(fields.header['version'], 3);
    assert.equal(fields.body['mrenclave'], hex(MRENCLAVE));
    assert.equal(fields.snpReport['familyIdText'], 'nestedsgx');
    assert.equal(fields.snpReport['imageIdText'], 'separate-user');
    assert.deepEqual(
      fields.certificates.map((certificate) => certificate['subject']),
      ["O=not AMD's, CN=SEV-VCEK", "O=not AMD's, CN=SEV-Software", "O=not AMD's, CN=ARK-Software"],
    );
    assert.equal(fields.certificates[0]!['notAfter'], '2036-01-01T00:00:00Z');
    assert.doesNotThrow(() => JSON.stringify(fields));
  });

  test('a genuine SNP report decodes to the published values', () => {
    const bytes = new Uint8Array(
      readFileSync(new URL('../../vectors/snp/milan-v3-vlek.report.bin', import.meta.url)),
    );
    const fields = decodeEvidence(bytes) as unknown as Record<string, unknown>;
    assert.equal(fields['version'], 3);
    assert.equal(fields['vmpl'], 1);
    assert.equal(fields['signingKey'], 'VLEK');
    assert.equal(fields['product'], 'Milan');
    assert.deepEqual(fields['currentTcb'], { fmc: null, bootloader: 4, tee: 0, snp: 24, microcode: 220 });
    assert.deepEqual(fields['committedTcb'], { fmc: null, bootloader: 4, tee: 0, snp: 24, microcode: 219 });
    assert.equal(fields['committedVersion'], '1.55.29');
    assert.deepEqual(fields['cpu'], { family: 25, model: 1, stepping: 1 });
  });

  test('the frame agrees with that of the architecture package', async () => {
    const machine = await TestMachine.make();
    const evidence = await makeEvidence(machine);
    const frame = parseQuote3(evidence);
    const nested = parseNestedQuote(evidence);
    assert.deepEqual(frame.signature, nested.signature);
    assert.deepEqual(frame.attestationKey, nested.attestationKey);
    const certificationData = encodeNestedCertificationData({
      report: nested.snpReport.raw,
      certificates: nested.certificates,
    });
    const header = QUOTE3_HEADER.decode(evidence);
    assert.deepEqual(encodeQuote3({ ...frame, header, certificationData }), new Uint8Array(evidence));
  });

  test('what is no evidence is refused with a typed error', () => {
    for (const bytes of [
      new Uint8Array(0),
      new Uint8Array(1184),
      new TextEncoder().encode('hello'),
      new Uint8Array(65537),
    ]) {
      assert.throws(
        () => decodeEvidence(bytes),
        (error) => error instanceof AttestError && error.code in ATTEST_ERRORS,
      );
    }
  });
});
