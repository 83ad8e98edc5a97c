import {
  KEYNAME_SEAL,
  KEYPOLICY_MRENCLAVE,
  KEYPOLICY_MRSIGNER,
  KEYPOLICY_NOISVPRODID,
  SECS,
} from '@nestedsgx/arch';
import { type Attack, finding } from '../attack.js';
import { keyOf } from '../stage/identity.js';
import { Micro, type MicroImage, type MicroOptions, microImage } from '../stage/micro.js';
import type { Stage } from '../stage/stage.js';
import { onTwin } from './machine-twin.js';

type Request = Parameters<typeof keyOf>[1];

const ALL = { FLAGS: 0xffff_ffff_ffff_ffffn, XFRM: 0n };
const signer = (more: Request = {}): Request => ({
  KEYNAME: KEYNAME_SEAL,
  KEYPOLICY: KEYPOLICY_MRSIGNER,
  ATTRIBUTEMASK: ALL,
  ...more,
});

/** Sets DEBUG in a SECS. */
function setDebug(secs: Uint8Array): void {
  secs[SECS.offsets.ATTRIBUTES]! |= 2;
}

export const sealPolicies: Attack = Object.freeze({
  name: 'seal-policies',
  group: 'keys',
  by: 'enclave',
  title: "derive another product's seal key",
  tries:
    "EGETKEY of another signer's, another product's, an older and a debug version of an enclave, with other policies, KEYIDs, masks and " +
    'SVNs, and of the same enclave on another machine',
  control:
    "the signer's own newer version derives the older one's key, and the same request gives the same key twice",
  run: async (stage: Stage) => {
    const { device } = await stage.host();
    const rival = await stage.rivalKey();
    const broken: (string | false)[] = [];
    const told: string[] = [];
    const shape: MicroOptions = { dataPages: 3 };
    const ask = async (image: MicroImage, request: Request, debug = false) => {
      const secs = debug ? { secs: setDebug } : {};
      const micro = Micro.load(device, image, secs);
      const key = keyOf(micro, request);
      await micro.close();
      return typeof key === 'string' ? key : Buffer.from(key).toString('hex');
    };
    const mine = microImage(stage.signer, shape);
    const newer = microImage(stage.signer, { ...shape, sign: { isvProdId: 1, isvSvn: 2 } });
    const base = await ask(mine, signer({ ISVSVN: 1 }));
    const same = await ask(newer, signer({ ISVSVN: 1 }));
    broken.push(
      (base.length !== 32 || base !== same) && `its own newer version gave ${same}, so this shows nothing`,
    );
    const others: [string, Promise<string>][] = [
      ["another signer's", ask(microImage(rival, shape), signer({ ISVSVN: 1 }))],
      [
        'another product',
        ask(microImage(stage.signer, { ...shape, sign: { isvProdId: 2, isvSvn: 1 } }), signer({ ISVSVN: 1 })),
      ],
      ['an SVN of 2 asked by version 1', ask(mine, signer({ ISVSVN: 2 }))],
      ["version 1's key at SVN 2", ask(newer, signer({ ISVSVN: 2 }))],
      ['an SVN of 0', ask(mine, signer({ ISVSVN: 0 }))],
      ['a debug version', ask(mine, signer({ ISVSVN: 1 }), true)],
      [
        'a debug version that masks DEBUG out',
        ask(mine, signer({ ISVSVN: 1, ATTRIBUTEMASK: { FLAGS: 0n, XFRM: 0n } }), true),
      ],
      ['the policy MRENCLAVE', ask(mine, signer({ ISVSVN: 1, KEYPOLICY: KEYPOLICY_MRENCLAVE }))],
      [
        'the policy MRENCLAVE with other data',
        ask(
          microImage(stage.signer, { ...shape, data: Uint8Array.of(9) }),
          signer({ ISVSVN: 1, KEYPOLICY: KEYPOLICY_MRENCLAVE }),
        ),
      ],
      ['no policy', ask(mine, signer({ ISVSVN: 1, KEYPOLICY: 0 }))],
      [
        'NOISVPRODID without KSS',
        ask(mine, signer({ ISVSVN: 1, KEYPOLICY: KEYPOLICY_MRSIGNER | KEYPOLICY_NOISVPRODID })),
      ],
      ['a policy that does not exist', ask(mine, signer({ ISVSVN: 1, KEYPOLICY: 0x8002 }))],
      ['another KEYID', ask(mine, signer({ ISVSVN: 1, KEYID: new Uint8Array(32).fill(1) }))],
      [
        'the same enclave on another machine',
        onTwin(stage, async (there) => {
          const micro = Micro.load(there, mine);
          const key = keyOf(micro, signer({ ISVSVN: 1 }));
          await micro.close();
          return typeof key === 'string' ? key : Buffer.from(key).toString('hex');
        }),
      ],
    ];
    const keys = new Set([base]);
    let refused = 0;
    for (const [what, answer] of others) {
      const key = await answer;
      if (key.length !== 32) {
        refused++;
        told.push(`${what}: ${key}`);
        continue;
      }
      broken.push(keys.has(key) && `${what} gave a key that another one has`);
      keys.add(key);
    }
    return [
      finding(
        'a malicious enclave',
        `${others.length} requests: ${keys.size - 1} other keys, all different; ${refused} refused (${told.join(', ')}); the newer ` +
          "version derives the older one's",
        broken,
      ),
    ];
  },
});
