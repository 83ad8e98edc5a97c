import { KEYNAME_REPORT, REPORT, TARGETINFO } from '@nestedsgx/arch';
import { generator } from '../adversary/world.js';
import { type Attack, finding, Tally } from '../attack.js';
import { keyOf, reportFor, reportMac, targetOf } from '../stage/identity.js';
import { Micro, microImage } from '../stage/micro.js';
import type { Stage } from '../stage/stage.js';
import { onTwin } from './machine-twin.js';

const FLIPS = 64;

export const reportForgery: Attack = Object.freeze({
  name: 'report-forgery',
  group: 'keys',
  by: 'enclave',
  title: 'convince another enclave by a report that is not for it, or not true',
  tries:
    "reports for other targets (each field of TARGETINFO), with bits flipped, with another KEYID, MACed with the forger's own report key, and " +
    'of another machine with the same launch digest; the target checks each with its own EGETKEY',
  control: 'the genuine report passes the same check',
  run: async (stage: Stage) => {
    const { device } = await stage.host();
    const target = await stage.micro({ dataPages: 3 });
    const forger = Micro.load(device, microImage(stage.signer, { dataPages: 3, data: Uint8Array.of(1) }));
    const random = generator(stage.seed);
    const tally = new Tally();
    const broken: (string | false)[] = [];
    const data = Uint8Array.from({ length: 64 }, (_, i) => i);
    const passes = (report: Uint8Array): boolean => {
      const key = keyOf(target, { KEYNAME: KEYNAME_REPORT, KEYID: REPORT.decode(report).KEYID });
      if (typeof key === 'string') return false;
      return Buffer.compare(reportMac(key, report), REPORT.decode(report).MAC) === 0;
    };
    const forged = (what: string, kind: string, report: Uint8Array) => {
      const passed = passes(report);
      tally.add(`${kind} ${passed ? 'passed' : 'refused'}`);
      broken.push(passed && `${what} passed`);
    };
    try {
      const own = targetOf(reportFor(target, new Uint8Array(TARGETINFO.size), data));
      const genuine = reportFor(forger, own, data);
      broken.push(!passes(genuine) && 'the genuine report does not pass, so this shows nothing');
      for (const [name, offset] of Object.entries(TARGETINFO.offsets)) {
        const other = own.slice();
        if (name === 'CET_ATTRIBUTES') continue;
        other[offset]! ^= 4;
        forged(`a report for another ${name}`, 'other target:', reportFor(forger, other, data));
      }
      for (let i = 0; i < FLIPS; i++) {
        const copy = genuine.slice();
        const bit = random() % (REPORT.size * 8);
        copy[bit >> 3]! ^= 1 << (bit & 7);
        forged(`bit ${bit} flipped`, 'bit flipped:', copy);
      }
      const mine = keyOf(forger, { KEYNAME: KEYNAME_REPORT, KEYID: REPORT.decode(genuine).KEYID });
      const lie = genuine.slice();
      lie.set(target.mrenclave, REPORT.offsets.MRENCLAVE);
      if (typeof mine === 'string') broken.push(`EGETKEY gave ${mine}`);
      else lie.set(reportMac(mine, lie), REPORT.offsets.MAC);
      forged("a report under the forger's own key", 'own key:', lie);
      const foreign = await onTwin(stage, async (there) => {
        const twin = Micro.load(there, forger.layout);
        const report = reportFor(twin, own, data);
        await twin.close();
        return report;
      });
      forged('a report of another machine', 'other machine:', foreign);
      return [
        finding('a malicious enclave', `${tally.total} reports: ${tally}; the genuine one passes`, broken),
      ];
    } finally {
      await target.close();
      await forger.close();
    }
  },
});
