import { ENCLS, SIGSTRUCT, sigstructSigningData } from '@nestedsgx/arch';
import type { SigningKey } from '@nestedsgx/image/node';
import { generator, text64 } from '../adversary/world.js';
import { leafCode } from '../answers.js';
import { type Attack, finding, Tally } from '../attack.js';
import type { Stage } from '../stage/stage.js';
import { prepare } from '../stage/stepwise.js';

const PAGE = 4096;
const AT = SIGSTRUCT.offsets;
const FLIPS = 40;

interface Forgery {
  what: string;
  bytes: Uint8Array;
}

function changed(
  original: Uint8Array,
  what: string,
  change: (bytes: Uint8Array, view: DataView) => void,
): Forgery {
  const bytes = original.slice();
  change(bytes, new DataView(bytes.buffer));
  return { what, bytes };
}

/** Everything but a right signature. */
function forgeries(genuine: Uint8Array, rival: SigningKey, seed: number): Forgery[] {
  const random = generator(seed);
  const signed = SIGSTRUCT.decode(genuine);
  const rivals = resign(genuine, rival);
  const list = [
    changed(genuine, 'no signature', (b) => b.fill(0, AT.SIGNATURE, AT.SIGNATURE + 384)),
    changed(genuine, 'no signature and no key', (b) => {
      b.fill(0, AT.MODULUS, AT.MODULUS + 384);
      b.fill(0, AT.SIGNATURE, AT.SIGNATURE + 384);
      b.fill(0, AT.Q1);
    }),
    changed(genuine, 'signature 1 under exponent 3', (b) => {
      b.fill(0, AT.SIGNATURE, AT.SIGNATURE + 384);
      b[AT.SIGNATURE] = 1;
      b.fill(0, AT.Q1);
    }),
    changed(genuine, 'Q1 one too large', (b) => addOne(b, AT.Q1)),
    changed(genuine, 'Q2 one too large', (b) => addOne(b, AT.Q2)),
    changed(genuine, 'Q1 all ones', (b) => b.fill(0xff, AT.Q1, AT.Q1 + 384)),
    changed(genuine, 'Q1 and Q2 exchanged', (b) => {
      b.set(genuine.subarray(AT.Q2, AT.Q2 + 384), AT.Q1);
      b.set(genuine.subarray(AT.Q1, AT.Q1 + 384), AT.Q2);
    }),
    changed(rivals, "another signer's signature under this signer's modulus", (b) =>
      b.set(signed.MODULUS, AT.MODULUS),
    ),
    changed(genuine, "this signer's signature under another modulus", (b) =>
      b.set(rivals.subarray(AT.MODULUS, AT.MODULUS + 384), AT.MODULUS),
    ),
    changed(genuine, 'exponent 1', (_, v) => v.setUint32(AT.EXPONENT, 1, true)),
    changed(genuine, 'exponent 65537', (_, v) => v.setUint32(AT.EXPONENT, 65_537, true)),
    changed(genuine, 'even modulus', (b) => {
      b[AT.MODULUS]! &= 0xfe;
    }),
    changed(genuine, 'another ENCLAVEHASH', (b) => {
      b[AT.ENCLAVEHASH]! ^= 1;
    }),
    changed(genuine, 'a higher ISVSVN', (_, v) => v.setUint16(AT.ISVSVN, 0xffff, true)),
    changed(genuine, 'ATTRIBUTEMASK without DEBUG and all else', (b) =>
      b.fill(0, AT.ATTRIBUTEMASK, AT.ATTRIBUTEMASK + 16),
    ),
    changed(genuine, 'DEBUG in ATTRIBUTES', (b) => {
      b[AT.ATTRIBUTES]! |= 2;
    }),
    changed(genuine, 'a reserved byte', (b) => {
      b[44] = 1;
    }),
    changed(genuine, "Intel's vendor number", (_, v) => v.setUint32(AT.VENDOR, 0x8086, true)),
  ];
  for (let i = 0; i < FLIPS; i++) {
    const bit = random() % (SIGSTRUCT.size * 8);
    list.push(
      changed(genuine, `bit ${bit} flipped`, (b) => {
        b[bit >> 3]! ^= 1 << (bit & 7);
      }),
    );
  }
  return list;
}

/** The same fields, signed by another key: right in itself. */
function resign(genuine: Uint8Array, signer: SigningKey): Uint8Array {
  const bytes = genuine.slice();
  const signature = signer.sign(sigstructSigningData(bytes));
  bytes.set(littleEndian(signer.modulus), AT.MODULUS);
  bytes.set(signature.slice().reverse(), AT.SIGNATURE);
  return bytes;
}

function littleEndian(value: bigint): Uint8Array {
  return new Uint8Array(Buffer.from(value.toString(16).padStart(768, '0'), 'hex')).reverse();
}

function addOne(bytes: Uint8Array, at: number): void {
  for (let i = at; i < at + 384; i++) {
    bytes[i] = (bytes[i]! + 1) & 0xff;
    if (bytes[i] !== 0) return;
  }
}

export const forgedSigstruct: Attack = Object.freeze({
  name: 'forged-sigstruct',
  group: 'lifecycle',
  by: 'guest OS',
  control: 'the genuine SIGSTRUCT is accepted by the same enclave afterwards',
  title: 'start an enclave under a signature that is not genuine',
  tries:
    'bit flips, missing signatures, false Q1 and Q2, keys and signatures of two signers mixed; EINIT by raw GHCB requests',
  run: async (stage: Stage) => {
    const { device } = await stage.host();
    const adversary = await stage.adversary(stage.cast.guest);
    const image = stage.image('evil');
    const { file, give, source } = prepare(device, image);
    const { vcpu } = device.connection;
    const codes = new Tally();
    const broken: string[] = [];
    try {
      const genuine = image.sigstruct;
      const all = forgeries(genuine, await stage.rivalKey(), stage.seed);
      const token = device.connection.memory.alloc(PAGE, { alignment: PAGE, zero: true });
      for (const { what, bytes } of all) {
        // The attacker plays the driver: it writes the request into the virtual CPU of the victim's host.
        await adversary.act('poke', { gpa: source.gpa, bytes: text64(bytes) });
        const answer = await adversary.act('callAs', {
          vcpu: vcpu.id,
          protocol: 0x4e53,
          call: ENCLS.EINIT,
          rcx: source.gpa,
          rdx: file.secs,
          r8: token.gpa,
        });
        const code = leafCode(answer.rax, answer.rcx);
        codes.add(code);
        if (code === 'success') broken.push(`EINIT accepted: ${what}`);
      }
      device.connection.memory.free(token);
      // The genuine one still works: what was refused was refused for what it was.
      if (broken.length === 0) file.init(genuine);
      return [
        finding(
          stage.cast.guest.label,
          `${all.length} forgeries: ${codes}; the genuine one is accepted`,
          broken,
        ),
      ];
    } finally {
      give();
    }
  },
});
