import { ENCLS, PT_REG, SECINFO_R, SECINFO_W, SECS } from '@nestedsgx/arch';
import { SGX_CALL } from '@nestedsgx/guest';
import { text64 } from '../adversary/world.js';
import { leafCode } from '../answers.js';
import { type Attack, finding, Tally } from '../attack.js';
import { latencyFaults, latencyText, workBeside } from '../stage/innocent.js';
import { HostileKernel } from '../stage/kernel.js';
import type { Stage } from '../stage/stage.js';

const PAGE = 4096;
const READ_WRITE = SECINFO_R | SECINFO_W | (PT_REG << 8);
const MIB = 2 ** 20;
/** More than the machine takes. */
const ENCLAVES = 5000;

export const hugeEnclaves: Attack = Object.freeze({
  name: 'huge-enclaves',
  group: 'denial',
  by: 'guest OS',
  title: 'enclaves of enormous size, and in enormous number',
  tries:
    'ECREATE with the largest SIZE that there is, with the largest SSA frames, and of more enclaves than the machine takes; ranges and lists ' +
    'of the largest lengths',
  control: 'the machine takes some of them until it refuses, and what was taken can be given back',
  run: async (stage: Stage) => {
    const { connection } = await stage.host();
    const codes = new Tally();
    const broken: (string | false)[] = [];
    const kernel = new HostileKernel(connection);
    const work = (async () => {
      let made = 0;
      let refused = false;
      const first = kernel.frame();
      for (const bits of [30, 35, 36, 40, 46]) {
        const size = 2n ** BigInt(bits);
        const { code } = kernel.ecreate(
          { SIZE: size, BASEADDR: size, SSAFRAMESIZE: 1, ATTRIBUTES: { FLAGS: 4n, XFRM: 3n } },
          first,
        );
        codes.add(`2^${bits}: ${code}`);
        if (code === 'success') kernel.sgx(ENCLS.EREMOVE, 0, first);
      }
      for (let i = 0; i < ENCLAVES; i++) {
        const { code } = kernel.ecreate(
          { SIZE: 2n ** 30n, BASEADDR: 2n ** 40n, SSAFRAMESIZE: 64, ATTRIBUTES: { FLAGS: 4n, XFRM: 3n } },
          kernel.frame(),
        );
        if (code !== 'success') {
          codes.add(`the one after ${made} enclaves: ${code}`);
          refused = true;
          break;
        }
        made++;
        if (i % 16 === 0) await new Promise<void>((resolve) => setTimeout(resolve, 1));
      }
      broken.push(!refused && `${made} enclaves were made without an end`);
      broken.push(made < 4 && `only ${made} enclaves were made, so this shows little`);
      const range = kernel.range({
        SECS: first,
        LINADDR: 2 ** 40,
        SRC: kernel.page(1),
        LENGTH: 2 ** 40,
        SECINFO: kernel.secinfo(READ_WRITE),
        EPC: first,
      });
      codes.add(`a range of 1 TiB: ${kernel.sgx(SGX_CALL.ADD_RANGE, range).code}`);
      codes.add(`removing 2^40 frames: ${kernel.sgx(SGX_CALL.REMOVE_RANGE, first, 2 ** 40).code}`);
      codes.add(`2^31 entries: ${kernel.sgx(SGX_CALL.EVICT, first, kernel.page(1), 2 ** 31).code}`);
      codes.add(`2^20 gates: ${kernel.sgx(SGX_CALL.BIND_GATES, first, kernel.page(1), 2 ** 20).code}`);
    })();
    const beside = await workBeside(stage, work);
    await work;
    kernel.close();
    return [
      finding('the host itself', `${codes}; ${latencyText(beside)}`, [...broken, ...latencyFaults(beside)]),
    ];
  },
});

export const epcExhaustion: Attack = Object.freeze({
  name: 'epc-exhaustion',
  group: 'denial',
  by: 'guest OS',
  title: 'take all EPC',
  tries:
    'a second guest fills every frame of its share with pages of an enclave, asks for more shares through the socket, and names frames of ' +
    'the others',
  control: 'its own frames are really filled: the machine says so',
  run: async (stage: Stage) => {
    const { device } = await stage.host();
    const adversary = await stage.adversary(stage.cast.guest, 'eater');
    const { socketPath } = await stage.machine();
    await stage.calc();
    await stage.vault();
    const before = device.query().freeFrames;
    const codes = new Tally();
    const broken: (string | false)[] = [];
    const work = (async () => {
      await adversary.act('attach', { path: socketPath, slice: 8 * MIB, epc: 16 * MIB });
      const { slice, epc } = await adversary.act('whereami', undefined);
      const operands = new HostileOperands(slice.gpa);
      const size = 2 ** 26;
      const call = async (pieces: { gpa: number; bytes: string }[], call_: number, rcx: number, rdx = 0) => {
        const calls = [{ protocol: 0x4e53, call: call_, rcx, rdx, timeoutMs: 5000 }];
        const [answer] = await adversary.act('calls', { pieces, calls });
        return leafCode(answer!.rax, answer!.rcx);
      };
      const made = await call(operands.ecreate(size), ENCLS.ECREATE, slice.gpa, epc.first);
      broken.push(made !== 'success' && `ECREATE gave ${made}, so this shows nothing`);
      const most = (epc.count - 1) * PAGE;
      // A range reads its source: pieces of what the slice holds.
      for (let at = 0; at < most; at += 4 * MIB) {
        const length = Math.min(4 * MIB, most - at);
        const pieces = operands.range(epc.first, 2 ** 40 + at, length, epc.first + PAGE + at);
        codes.add(await call(pieces, SGX_CALL.ADD_RANGE, slice.gpa));
      }
      const filled = before - device.query().freeFrames;
      broken.push(filled < epc.count - 8 && `only ${filled} of ${epc.count} frames were filled`);
      const beyond = operands.range(epc.first, 2 ** 40 + most, PAGE, epc.first + epc.count * PAGE);
      codes.add(`a frame beyond its share: ${await call(beyond, SGX_CALL.ADD_RANGE, slice.gpa)}`);
      for (let i = 0; i < 24; i++) {
        try {
          await adversary.act('attach', { path: socketPath, slice: 8 * MIB, epc: 64 * MIB });
          codes.add('one more share');
        } catch {
          codes.add('one more share refused');
          break;
        }
      }
    })();
    const beside = await workBeside(stage, work);
    await work;
    const late = await stage.micro();
    const works = late.write(late.layout.data, 3n) && late.read(late.layout.data) === 3n;
    broken.push(!works && 'the first guest cannot load an enclave any more');
    await late.close();
    await adversary.act('detach', undefined);
    for (let i = 0; i < 200 && device.query().freeFrames < before; i++)
      await new Promise<void>((resolve) => setTimeout(resolve, 10));
    broken.push(device.query().freeFrames < before && 'frames were not given back when it left');
    return [
      finding(
        `${stage.cast.guest.label}, attached as further guests`,
        `${codes}; the first guest loads an enclave meanwhile; ${latencyText(beside)}; all frames are back afterwards`,
        [...broken, ...latencyFaults(beside)],
      ),
    ];
  },
});

/** Operands in the slice of a guest that has no driver: PAGEINFO or ADD_RANGE at its start. */
class HostileOperands {
  constructor(private readonly page: number) {}

  ecreate(size: number): { gpa: number; bytes: string }[] {
    const info = new BigUint64Array([0n, BigInt(this.page + PAGE), BigInt(this.page + 512), 0n]);
    const secs = SECS.encode({
      SIZE: BigInt(size),
      BASEADDR: 2n ** 40n,
      SSAFRAMESIZE: 1,
      ATTRIBUTES: { FLAGS: 4n, XFRM: 3n },
    });
    return [
      { gpa: this.page, bytes: text64(new Uint8Array(info.buffer)) },
      { gpa: this.page + 512, bytes: text64(new Uint8Array(64)) },
      { gpa: this.page + PAGE, bytes: text64(secs) },
    ];
  }

  range(secs: number, linaddr: number, length: number, epc: number): { gpa: number; bytes: string }[] {
    const info = new BigUint64Array(
      [secs, linaddr, this.page + 2 * PAGE, length, this.page + 512, epc, 0].map((value) => BigInt(value)),
    );
    const secinfo = new Uint8Array(64);
    new DataView(secinfo.buffer).setUint32(0, READ_WRITE, true);
    return [
      { gpa: this.page, bytes: text64(new Uint8Array(info.buffer)) },
      { gpa: this.page + 512, bytes: text64(secinfo) },
    ];
  }
}
