/** ENCLU[EREPORT]. Source: Intel SDM Vol. 3D, "EREPORT—Create a Cryptographic Report of the Enclave". */
import assert from 'node:assert/strict';
import { ENCLU, KEYNAME_REPORT, KEYREQUEST, REPORT, TARGETINFO } from '@nestedsgx/arch';
import { CmacKey } from '@nestedsgx/monitor';
import type { ConformanceCase } from '../case.js';

import { AT, probeMeasurement, probePages } from '../probe/image.js';
import type { Probe } from '../probe/probe.js';
import { gp, pf, succeeded } from './expect.js';

const leaf = 'EREPORT';
const TARGET = AT.DATA;
const DATA = AT.DATA + 0x1000;
const OUT = AT.DATA + 0x2000;

function report(p: Probe, target: number = TARGET, data: number = DATA, out: number = OUT) {
  return p.enclu(ENCLU.EREPORT, p.at(target), p.at(data), p.at(out));
}

/** The report's MAC, and what this enclave's own REPORT key gives over the same body. */
function macWithOwnKey(p: Probe): { expected: Uint8Array; MAC: Uint8Array } {
  const bytes = p.read(OUT, REPORT.size);
  const { KEYID, MAC } = REPORT.decode(bytes);
  const [request, key] = [AT.DATA + 0x3000, AT.DATA + 0x3400];
  p.write(request, KEYREQUEST.encode({ KEYNAME: KEYNAME_REPORT, KEYID }));
  succeeded(p.enclu(ENCLU.EGETKEY, p.at(request), p.at(key)));
  return { expected: new CmacKey(p.read(key, 16)).tag(bytes.subarray(0, 384)), MAC };
}

/** Cases of EREPORT. */
export const EREPORT_CASES: readonly ConformanceCase[] = [
  {
    leaf,
    id: 'report',
    title: 'The report names MRENCLAVE, product, SVN and attributes, and carries REPORTDATA',
    run: (c) => {
      const p = c.probe({ isvProdId: 7, isvSvn: 9 });
      const mine = new Uint8Array(64).map((_, i) => i + 1);
      p.write(DATA, mine);
      succeeded(report(p));
      const r = REPORT.decode(p.read(OUT, REPORT.size));
      assert.deepEqual(r.MRENCLAVE, probeMeasurement(probePages({})));
      assert.deepEqual(r.REPORTDATA, mine);
      assert.deepEqual([r.ISVPRODID, r.ISVSVN], [7, 9]);
      assert.equal(r.ATTRIBUTES.FLAGS & 5n, 5n, 'INIT and MODE64BIT');
    },
  },
  {
    leaf,
    id: 'mac-for-target',
    title: 'The MAC is AES-CMAC over the body with the REPORT key that the target gets from EGETKEY',
    run: (c) => {
      const p = c.probe();
      const measurement = probeMeasurement(probePages({}));
      p.write(TARGET, TARGETINFO.encode({ MEASUREMENT: measurement, ATTRIBUTES: { FLAGS: 5n, XFRM: 3n } }));
      succeeded(report(p));
      const { expected, MAC } = macWithOwnKey(p);
      assert.deepEqual(expected, MAC);
    },
  },
  {
    leaf,
    id: 'mac-for-another-target',
    title: 'A report for another enclave is not accepted by the REPORT key of this one',
    run: (c) => {
      const p = c.probe();
      const other = new Uint8Array(32).fill(1);
      p.write(TARGET, TARGETINFO.encode({ MEASUREMENT: other, ATTRIBUTES: { FLAGS: 5n, XFRM: 3n } }));
      succeeded(report(p));
      const { expected, MAC } = macWithOwnKey(p);
      assert.notDeepEqual(expected, MAC);
    },
  },
  {
    leaf,
    id: 'targetinfo-aligned',
    title: 'TARGETINFO that is not 512-byte aligned is #GP(0)',
    run: (c) => gp(report(c.probe(), TARGET + 256)),
  },
  {
    leaf,
    id: 'reportdata-aligned',
    title: 'REPORTDATA that is not 128-byte aligned is #GP(0)',
    run: (c) => gp(report(c.probe(), TARGET, DATA + 64)),
  },
  {
    leaf,
    id: 'output-aligned',
    title: 'OUTPUTDATA that is not 512-byte aligned is #GP(0)',
    run: (c) => gp(report(c.probe(), TARGET, DATA, OUT + 256)),
  },
  {
    leaf,
    id: 'operands-inside',
    title: 'An operand outside the ELRANGE is #GP(0)',
    run: (c) => {
      const p = c.probe();
      const outside = c.platform.allocate(1024);
      const aligned = Math.ceil(outside.address / 512) * 512;
      gp(p.enclu(ENCLU.EREPORT, aligned, p.at(DATA), p.at(OUT)));
      gp(p.enclu(ENCLU.EREPORT, p.at(TARGET), aligned, p.at(OUT)));
      gp(p.enclu(ENCLU.EREPORT, p.at(TARGET), p.at(DATA), aligned));
    },
  },
  {
    leaf,
    id: 'output-writable',
    title: 'OUTPUTDATA on a page without W is #PF there',
    run: (c) => {
      const p = c.probe();
      pf(report(p, TARGET, DATA, AT.CONSTANT), p.at(AT.CONSTANT));
    },
  },
  {
    leaf,
    id: 'output-tcs',
    title: 'OUTPUTDATA on a TCS page is #PF there',
    run: (c) => {
      const p = c.probe();
      pf(report(p, TARGET, DATA, AT.THREADS), p.at(AT.THREADS));
    },
  },
];
