import { ENCLS, GHCB, SVSM_PROTOCOL_SGX } from '@nestedsgx/arch';
import { SGX_CALL } from '@nestedsgx/guest';
import { CAA_ANSWER, CAA_CALL_PENDING, CAA_RING, caaGpa } from '@nestedsgx/machine';
import { text64 } from '../adversary/world.js';
import { leafCode } from '../answers.js';
import { type Attack, finding, Tally } from '../attack.js';
import type { Stage } from '../stage/stage.js';

const MS = 500;

function u64(value: number): string {
  return text64(new Uint8Array(new BigUint64Array([BigInt(value)]).buffer));
}

export const ghcbRace: Attack = Object.freeze({
  name: 'ghcb-race',
  group: 'races',
  by: 'guest OS',
  title: 'change a GHCB while the monitor reads it',
  tries:
    "a guest removes its own frame again and again, while another process turns RCX between that frame and a victim's, and RAX between leaves",
  control: 'both sides of the race come through: some requests are served, some refused as foreign',
  run: async (stage: Stage) => {
    const vault = await stage.vault();
    const guest = await stage.attachedAdversary();
    const hammer = await stage.adversary(stage.cast.guest, 'hammer');
    const { ghcb, epc } = await guest.act('whereami', undefined);
    const codes = new Tally();
    const broken: (string | false)[] = [];
    const call = { protocol: SVSM_PROTOCOL_SGX, call: ENCLS.EREMOVE, rcx: 0, rdx: epc.first, timeoutMs: 200 };
    const targets: [number, string, string][] = [
      // EREMOVE's RCX lies in the RDX of the call.
      [GHCB.offsets.RDX, u64(epc.first), u64(vault.gpa)],
      [GHCB.offsets.RDX, u64(epc.first), u64(vault.built.file.secs)],
      [
        GHCB.offsets.RAX,
        u64(SVSM_PROTOCOL_SGX * 2 ** 32 + ENCLS.EREMOVE),
        u64(SVSM_PROTOCOL_SGX * 2 ** 32 + SGX_CALL.REMOVE_RANGE),
      ],
      [GHCB.offsets.SW_EXITCODE, u64(0x8000_0018), u64(0x8000_0013)],
    ];
    for (const [offset, one, two] of targets) {
      const { done } = await hammer.begin('toggle', { gpa: ghcb + offset, one, two, ms: MS });
      const started = performance.now();
      while (performance.now() - started < MS - 30) {
        const answers = await guest.act('calls', { calls: Array.from({ length: 20 }, () => call) });
        for (const { answered, served, rax, rcx } of answers)
          codes.add(!answered ? 'unanswered' : served ? leafCode(rax, rcx) : 'malformed');
      }
      await done;
    }
    broken.push(!vault.intact() && 'the secret was changed');
    broken.push(codes.count('success') === 0 && 'no request came through, so this shows nothing');
    broken.push(
      codes.count('INVALID_PARAMETER') === 0 && 'no foreign frame came through, so this shows little',
    );
    return [
      finding(stage.cast.guest.label, `${codes.total} requests: ${codes}; the victim is as before`, broken),
    ];
  },
});

export const staleRequests: Attack = Object.freeze({
  name: 'stale-requests',
  group: 'races',
  by: 'guest OS',
  title: 'have an old request served again, or an answer taken for another',
  tries:
    'rings thousands of times over a request that was served already, turns the ring back, writes answers of its own, and clears and sets ' +
    'call_pending between',
  control: 'the request itself is served when it is made in earnest, before and afterwards',
  run: async (stage: Stage) => {
    const { device } = await stage.host();
    const guest = await stage.attachedAdversary();
    await stage.calc();
    await stage.vault();
    const { vcpu, slice, epc } = await guest.act('whereami', undefined);
    const broken: (string | false)[] = [];
    const before = device.query().freeFrames;
    // EPA of a frame changes the number of free frames: whenever it is executed again, it shows.
    const frame = epc.first + epc.count * 4096 - 4096;
    const pieces = [{ gpa: slice.gpa, bytes: text64(new Uint8Array(64)) }];
    const epa = { protocol: SVSM_PROTOCOL_SGX, call: ENCLS.EPA, rcx: 3, rdx: frame };
    const remove = { protocol: SVSM_PROTOCOL_SGX, call: ENCLS.EREMOVE, rcx: 0, rdx: frame };
    const [first, gone] = await guest.act('calls', { pieces, calls: [epa, remove] });
    broken.push(
      (first!.rax !== 0 || gone!.rax !== 0) && 'the request is not served in earnest, so this shows nothing',
    );
    // The GHCB now holds EREMOVE; put EPA back as it was when it was served, without asking for it.
    const ghcb = (await guest.act('whereami', undefined)).ghcb;
    await guest.act('poke', {
      gpa: ghcb + GHCB.offsets.RAX,
      bytes: u64(SVSM_PROTOCOL_SGX * 2 ** 32 + ENCLS.EPA),
    });
    await guest.act('poke', { gpa: ghcb + GHCB.offsets.RCX, bytes: u64(3) });
    const words = {
      ring: caaGpa(vcpu) + CAA_RING,
      answer: caaGpa(vcpu) + CAA_ANSWER,
      pending: caaGpa(vcpu) + CAA_CALL_PENDING,
    };
    const rings = await guest.act('ringStale', { ...words, seed: stage.seed, ms: 400 });
    const after = device.query().freeFrames;
    broken.push(after !== before && `${before - after} frames changed hands over requests that nobody made`);
    const [again, last] = await guest.act('calls', { calls: [epa, remove] });
    broken.push(
      (!again!.answered || again!.rax !== 0 || again!.rcx !== 0 || last!.rax !== 0) &&
        'an honest request is not served afterwards',
    );
    return [
      finding(
        stage.cast.guest.label,
        `${rings} rings over a request that was served: not executed again; an honest one is served afterwards`,
        broken,
      ),
    ];
  },
});
