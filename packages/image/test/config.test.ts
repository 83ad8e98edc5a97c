/** Enclave.config.xml: every element's limits, which values go together, and what is no such document. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { NsgxError } from '@nestedsgx/arch';
import fc from 'fast-check';
import {
  CONFIG_ELEMENTS,
  type ConfigElementName,
  type EnclaveConfigInit,
  enclaveConfig,
  parseEnclaveConfig,
} from '../src/index.js';

function refuses(f: () => unknown, code: string, ...said: (string | RegExp)[]): void {
  assert.throws(f, (e) => {
    assert.ok(e instanceof NsgxError, String(e));
    assert.equal(e.code, code, e.message);
    for (const part of said)
      assert.ok(typeof part === 'string' ? e.message.includes(part) : part.test(e.message), e.message);
    return true;
  });
}

const wrap = (inner: string): string => `<EnclaveConfiguration>${inner}</EnclaveConfiguration>`;

/** Names, limits and defaults as Intel's developer reference and tool have them, written down a second time. */
const REFERENCE: [ConfigElementName, min: bigint, max: bigint, byDefault: bigint][] = [
  ['ProdID', 0n, 65535n, 0n],
  ['ISVSVN', 0n, 65535n, 0n],
  ['ReleaseType', 0n, 1n, 0n],
  ['IntelSigned', 0n, 1n, 0n],
  ['ProvisionKey', 0n, 1n, 0n],
  ['LaunchKey', 0n, 1n, 0n],
  ['DisableDebug', 0n, 1n, 0n],
  ['HW', 0n, 16n, 0n],
  ['TCSNum', 1n, 4294967295n, 1n],
  ['TCSMaxNum', 1n, 4294967295n, 1n],
  ['TCSMinPool', 0n, 4294967295n, 1n],
  ['TCSPolicy', 0n, 1n, 1n],
  ['StackMaxSize', 8192n, 9223372036854775807n, 262144n],
  ['StackMinSize', 8192n, 9223372036854775807n, 8192n],
  ['HeapMaxSize', 0n, 9223372036854775807n, 16777216n],
  ['HeapMinSize', 0n, 9223372036854775807n, 4096n],
  ['HeapInitSize', 0n, 9223372036854775807n, 16777216n],
  ['ReservedMemMaxSize', 0n, 9223372036854775807n, 0n],
  ['ReservedMemMinSize', 0n, 9223372036854775807n, 0n],
  ['ReservedMemInitSize', 0n, 9223372036854775807n, 0n],
  ['ReservedMemExecutable', 0n, 1n, 0n],
  ['MiscSelect', 0n, 4294967295n, 0n],
  ['MiscMask', 0n, 4294967295n, 4294967295n],
  ['EnableKSS', 0n, 1n, 0n],
  ['ISVFAMILYID_H', 0n, 18446744073709551615n, 0n],
  ['ISVFAMILYID_L', 0n, 18446744073709551615n, 0n],
  ['ISVEXTPRODID_H', 0n, 18446744073709551615n, 0n],
  ['ISVEXTPRODID_L', 0n, 18446744073709551615n, 0n],
  ['EnclaveImageAddress', 4096n, 18446744073709551615n, 0n],
  ['ELRangeStartAddress', 0n, 18446744073709551615n, 0n],
  ['ELRangeSize', 4096n, 18446744073709551615n, 0n],
  ['PKRU', 0n, 2n, 0n],
  ['AMX', 0n, 2n, 0n],
  ['UserRegionSize', 0n, 9223372036854775807n, 0n],
  ['EnableAEXNotify', 0n, 1n, 0n],
  ['EnableIPPFIPS', 0n, 1n, 0n],
  ['EnableOSSLFIPS', 0n, 1n, 0n],
];

test('every element has its limits and default; beyond them the error names element, value and limits', () => {
  assert.deepEqual(new Set(REFERENCE.map(([name]) => name)), new Set(Object.keys(CONFIG_ELEMENTS)));
  const defaults = enclaveConfig();
  for (const [name, min, max, byDefault] of REFERENCE) {
    assert.equal(defaults.values[name], byDefault, name);
    assert.deepEqual([CONFIG_ELEMENTS[name].min, CONFIG_ELEMENTS[name].max], [min, max], name);
    const limit = (v: bigint): string => (v < 4096n ? `${v}` : `0x${v.toString(16)}`);
    const range = `${limit(min)}…${limit(max)}`;
    refuses(
      () => parseEnclaveConfig(wrap(`<${name}>${max + 1n}</${name}>`)),
      'SIGN_CONFIG_ELEMENT',
      `${name} is ${max + 1n}`,
      range,
    );
    if (min > 0n)
      refuses(
        () => enclaveConfig({ [name]: min - 1n }),
        'SIGN_CONFIG_ELEMENT',
        `${name} is ${min - 1n}`,
        range,
      );
    refuses(() => parseEnclaveConfig(wrap(`<${name}>-1</${name}>`)), 'SIGN_CONFIG_ELEMENT', name, '-1');
    refuses(() => parseEnclaveConfig(wrap(`<${name}/>`)), 'SIGN_CONFIG_ELEMENT', `${name} is empty`);
  }
});

test('numbers are decimal, hexadecimal or octal, as in C', () => {
  const value = (text: string) => parseEnclaveConfig(wrap(`<ProdID>${text}</ProdID>`)).values.ProdID;
  assert.deepEqual(
    ['10', '0x10', '0XfF', '010', '0', '00', ' 12\n', '<![CDATA[7]]>', '1<!-- 2 -->3'].map(value),
    [10n, 16n, 255n, 8n, 0n, 0n, 12n, 7n, 13n],
  );
  for (const text of ['ten', '0x', '08', '1.5', '1e3', '+1', '0b1', '1 2', '0o7', '１'])
    refuses(() => value(text), 'SIGN_CONFIG_ELEMENT', 'ProdID', text);
});

test('values that follow others, unless they are given', () => {
  const { values } = enclaveConfig({ HeapMaxSize: 0x8000, ReservedMemMaxSize: 0x3000, TCSNum: 5 });
  assert.deepEqual(
    [values.HeapInitSize, values.ReservedMemInitSize, values.TCSMaxNum],
    [0x8000n, 0x3000n, 5n],
  );
  assert.equal(enclaveConfig({ TCSNum: 5, TCSMaxNum: 6 }).values.TCSMaxNum, 6n);
});

test('values that contradict each other are named', () => {
  const cases: [EnclaveConfigInit, ...RegExp[]][] = [
    [{ StackMaxSize: 0x5001 }, /StackMaxSize is 0x5001, not a multiple/],
    [{ StackMinSize: 0x2800 }, /StackMinSize is 0x2800/],
    [{ StackMinSize: 0x8000, StackMaxSize: 0x4000 }, /StackMinSize is 0x8000, but StackMaxSize is 0x4000/],
    [{ StackMinSize: 0x80000 }, /StackMaxSize \(not given\) is 0x40000/],
    [{ HeapMaxSize: 0x1800 }, /HeapMaxSize is 0x1800/],
    [{ HeapMinSize: 1 }, /HeapMinSize is 0x1,/],
    [{ HeapInitSize: 0x800 }, /HeapInitSize/],
    [{ HeapMinSize: 0x2000, HeapMaxSize: 0x1000 }, /HeapMinSize is 0x2000, but HeapMaxSize is 0x1000/],
    [{ HeapInitSize: 0x3000, HeapMaxSize: 0x2000 }, /HeapInitSize is 0x3000, but HeapMaxSize/],
    [{ HeapInitSize: 0x1000, HeapMinSize: 0x2000 }, /HeapMinSize is 0x2000, but HeapInitSize is 0x1000/],
    [{ ReservedMemMaxSize: 0x10 }, /ReservedMemMaxSize is 0x10/],
    [{ ReservedMemMinSize: 0x1000 }, /ReservedMemMinSize is 0x1000, but ReservedMemMaxSize \(not given\)/],
    [{ ReservedMemInitSize: 0x1000 }, /ReservedMemInitSize is 0x1000, but ReservedMemMaxSize/],
    [
      { ReservedMemMinSize: 0x2000, ReservedMemInitSize: 0x1000, ReservedMemMaxSize: 0x4000 },
      /ReservedMemMinSize is 0x2000, but ReservedMemInitSize/,
    ],
    [{ UserRegionSize: 0x10, MiscSelect: 1, MiscMask: 1 }, /UserRegionSize is 0x10, not a multiple/],
    [{ UserRegionSize: 0x1000 }, /UserRegionSize is 0x1000.*MiscSelect.*MiscMask/],
    [{ UserRegionSize: 0x1000, MiscSelect: 1, MiscMask: 0xffff_fffe }, /UserRegionSize/],
    [{ HW: 1 }, /HW is 0x1.*LaunchKey/],
    [{ LaunchKey: 1 }, /LaunchKey is 0x1.*HW/],
    [{ TCSNum: 4, TCSMaxNum: 3 }, /TCSNum is 0x4, but TCSMaxNum is 0x3/],
    [{ TCSNum: 2, TCSMinPool: 3 }, /TCSMinPool is 0x3, but TCSMaxNum \(not given\) is 0x2/],
    [{ TCSNum: 2, TCSMaxNum: 4, TCSMinPool: 5 }, /TCSMinPool is 0x5, but TCSMaxNum is 0x4/],
    [{ ISVFAMILYID_H: 1 }, /ISVFAMILYID_H is 0x1.*EnableKSS/],
    [{ ISVFAMILYID_L: 1 }, /ISVFAMILYID_L/],
    [{ ISVEXTPRODID_H: 1, EnableKSS: 0 }, /ISVEXTPRODID_H/],
    [{ ISVEXTPRODID_L: 1 }, /ISVEXTPRODID_L/],
    [{ EnclaveImageAddress: 0x10000 }, /EnclaveImageAddress.*ELRangeSize/],
    [{ ELRangeStartAddress: 0 }, /ELRangeStartAddress.*ELRangeSize/],
    [{ ELRangeSize: 0x3000 }, /ELRangeSize is 0x3000, not a power of two/],
    [{ ELRangeSize: 0x1800 }, /ELRangeSize is 0x1800, not a multiple/],
    [
      { ELRangeSize: 0x2000, ELRangeStartAddress: 0x1000 },
      /ELRangeStartAddress is 0x1000, not a multiple of ELRangeSize/,
    ],
    [{ ELRangeSize: 0x2000, EnclaveImageAddress: 0x1001 }, /EnclaveImageAddress is 0x1001/],
    [
      { ELRangeSize: 0x2000, ELRangeStartAddress: 0x4000, EnclaveImageAddress: 0x2000 },
      /above EnclaveImageAddress/,
    ],
    [
      { ELRangeSize: 1n << 63n, ELRangeStartAddress: 1n << 63n, EnclaveImageAddress: 1n << 63n },
      /exceeds 64 bits/,
    ],
    [{ EnableOSSLFIPS: 1 }, /EnableOSSLFIPS.*second shared object/],
    [{ ReleaseType: 1 }, /ReleaseType.*EINIT/],
  ];
  for (const [init, ...said] of cases) refuses(() => enclaveConfig(init), 'SIGN_CONFIG_ELEMENT', ...said);
  refuses(() => enclaveConfig({ ProdID: 1.5 }), 'SIGN_CONFIG_ELEMENT', /1\.5/);
  refuses(() => enclaveConfig({ Prodid: 1 } as EnclaveConfigInit), 'SIGN_CONFIG_ELEMENT', /<Prodid>/);
});

test('what is no Enclave.config.xml is refused and nothing is expanded', () => {
  const xml: [string | Uint8Array, ...RegExp[]][] = [
    ['', /not XML/],
    ['{}', /not XML/],
    ['<EnclaveConfiguration>', /line 1/],
    ['<Configuration/>', /<Configuration>, not <EnclaveConfiguration>/],
    [wrap('text'), /holds the text "text"/],
    [wrap('<ProdID unit="x">1</ProdID>'), /<ProdID> has attributes/],
    [wrap('<ProdID><ISVSVN>1</ISVSVN></ProdID>'), /<ProdID> holds elements/],
    [wrap('<ProdID>&amount;</ProdID>'), /not defined|isn't defined/],
    [`<!DOCTYPE EnclaveConfiguration>${wrap('')}`, /document type/],
    [
      `<!DOCTYPE EnclaveConfiguration [<!ENTITY x SYSTEM "file:///etc/hostname">]>${wrap('<ProdID>&x;</ProdID>')}`,
      /SIGN|isn't defined|document type/,
    ],
    [wrap(`<!--${' '.repeat(70_000)}-->`), /65536/],
    [wrap('<a>'.repeat(15_000)), /too deeply|not XML/],
    [Uint8Array.of(0xff, 0xfe, 0x3c, 0), /UTF-8/],
  ];
  for (const [document, ...said] of xml)
    refuses(() => parseEnclaveConfig(document), 'SIGN_CONFIG_XML', ...said);
  refuses(
    () => parseEnclaveConfig(wrap('<ProdId>1</ProdId>')),
    'SIGN_CONFIG_ELEMENT',
    /<ProdId> is no element/,
  );
  refuses(
    () => parseEnclaveConfig(wrap('<constructor>1</constructor>')),
    'SIGN_CONFIG_ELEMENT',
    /constructor/,
  );
  refuses(() => parseEnclaveConfig(wrap('<HW>0</HW><HW>0</HW>')), 'SIGN_CONFIG_ELEMENT', /HW is given twice/);
  const whole = `\ufeff<?xml version="1.0"?>\n<!-- a -->${wrap('\n<!-- b --><ProdID>3</ProdID>\n')}\n`;
  assert.equal(parseEnclaveConfig(Buffer.from(whole)).values.ProdID, 3n);
});

test('fuzz: damaged documents end in typed errors', () => {
  const whole = wrap('<ProdID>0x10</ProdID><!-- c --><TCSNum>&#50;</TCSNum>');
  fc.assert(
    fc.property(fc.nat(whole.length - 1), fc.string({ maxLength: 3 }), fc.nat(whole.length), (at, s, cut) => {
      for (const text of [whole.slice(0, at) + s + whole.slice(at + 1), whole.slice(0, cut)]) {
        try {
          parseEnclaveConfig(text);
        } catch (e) {
          assert.ok(e instanceof NsgxError, String(e));
        }
      }
    }),
    { numRuns: Number(process.env['NSGX_FUZZ_RUNS'] ?? 300), seed: 20260131 },
  );
});
