import {
  KEYNAME_EINITTOKEN,
  KEYNAME_PROVISION,
  KEYNAME_PROVISION_SEAL,
  KEYNAME_SEAL,
  KEYREQUEST,
  sgxErrorName,
} from '@nestedsgx/arch';
import { RUNNER_MEMORY } from '@nestedsgx/cpu/host';
import { type Attack, type Finding, finding, Tally } from '../attack.js';
import { Evil } from '../stage/evil.js';
import type { Stage } from '../stage/stage.js';
import { leaks } from '../stage/vault.js';

const PAGE = 4096;
/** Where a runner keeps code, thread blocks, stacks, control memory, plan, jump slots and saved state (public). */
const REGIONS = [
  RUNNER_MEMORY.IMAGE,
  RUNNER_MEMORY.THREADS,
  RUNNER_MEMORY.SIGNAL_STACKS,
  RUNNER_MEMORY.STACKS,
  RUNNER_MEMORY.CONTROL,
  RUNNER_MEMORY.PLAN,
  RUNNER_MEMORY.SLOTS,
  RUNNER_MEMORY.TRAMPOLINES,
  RUNNER_MEMORY.XSAVE,
];
const PAGES_EACH = 24;
const EGETKEY = 1n;

/** Reads other enclaves by every address they have. */
async function readOthers(stage: Stage): Promise<Finding> {
  const vault = await stage.vault();
  const { connection } = await stage.host();
  const evil = new Evil(stage);
  const codes = new Tally();
  const broken: string[] = [];
  const places: [string, number][] = [
    ['its linear address', vault.address],
    ['its SECS', connection.ramBase + vault.built.file.secs],
    ['base + its gPA', connection.ramBase + vault.gpa],
    ['its gPA itself', vault.gpa],
    ['the end of guest RAM', connection.ramBase + connection.ramSize],
  ];
  for (const [what, address] of places) {
    const read = await evil.attempt((calls) =>
      calls.read_memory!(BigInt(address), BigInt(vault.secret.length)),
    );
    codes.add(`${read.how} reading`);
    if (read.how === 'returned' && leaks(vault.secret, read.value as Uint8Array))
      broken.push(`${what} gave the secret`);
    const write = await evil.attempt((calls) => calls.write_word!(BigInt(address), 0x5a5a_5a5an));
    codes.add(`${write.how} writing`);
  }
  await evil.renew();
  if (!vault.intact()) broken.push("the other enclave's secret was changed");
  return finding('a malicious enclave', `another enclave by ${places.length} addresses: ${codes}`, broken);
}

/** Reads everything low in the runner's memory. */
async function readRunner(stage: Stage): Promise<Finding> {
  const vault = await stage.vault();
  const evil = new Evil(stage);
  const broken: string[] = [];
  let pages = 0;
  for (const region of REGIONS) {
    for (let i = 0; i < PAGES_EACH; i++) {
      const { how, value } = await evil.attempt((calls) =>
        calls.read_memory!(BigInt(region + i * PAGE), BigInt(PAGE)),
      );
      if (how !== 'returned') break;
      pages++;
      if (leaks(vault.secret, value as Uint8Array))
        broken.push(`0x${(region + i * PAGE).toString(16)} holds another's secret`);
    }
  }
  await evil.renew();
  return finding(
    'a malicious enclave',
    `${pages} pages of its own runner read (code, stacks, control memory): nothing of other enclaves`,
    [...broken, ...(pages === 0 ? ['nothing could be read, so this shows nothing'] : [])],
  );
}

/** Asks EGETKEY for keys that this enclave has no right to. */
async function askKeys(stage: Stage): Promise<Finding> {
  const evil = new Evil(stage);
  const codes = new Tally();
  const broken: string[] = [];
  const cases: [string, Parameters<typeof KEYREQUEST.encode>[0]][] = [
    ['the provisioning key', { KEYNAME: KEYNAME_PROVISION }],
    ['the provisioning seal key', { KEYNAME: KEYNAME_PROVISION_SEAL }],
    ['the launch key', { KEYNAME: KEYNAME_EINITTOKEN }],
    ['a seal key of a higher ISVSVN', { KEYNAME: KEYNAME_SEAL, KEYPOLICY: 2, ISVSVN: 0xffff }],
    [
      'a seal key of a higher CPUSVN',
      { KEYNAME: KEYNAME_SEAL, KEYPOLICY: 2, CPUSVN: new Uint8Array(16).fill(0xff) },
    ],
    ['a key that does not exist', { KEYNAME: 77 }],
  ];
  for (const [what, request] of cases) {
    const { how, value } = await evil.attempt(async (calls, victim) => {
      const bytes = KEYREQUEST.encode(request);
      const words = new BigUint64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8);
      for (let i = 0; i < words.length; i++)
        await calls.write_word!(BigInt(victim.address + i * 8), words[i]!);
      const code = await calls.leaf!(EGETKEY, BigInt(victim.address), BigInt(victim.address + 2048), 0n);
      return { code: Number(code), key: await calls.read_memory!(BigInt(victim.address + 2048), 16n) };
    });
    const answer = value as { code: number; key: Uint8Array } | undefined;
    codes.add(answer === undefined ? how : sgxErrorName(answer.code));
    if (answer?.code === 0) broken.push(`EGETKEY gave ${what}`);
    if (answer?.key.some((byte) => byte !== 0)) broken.push(`EGETKEY refused ${what} but wrote a key`);
  }
  await evil.renew();
  return finding(
    'a malicious enclave',
    `EGETKEY for ${cases.length} keys that are not its own: ${codes}`,
    broken,
  );
}

export const enclaveSpy: Attack = Object.freeze({
  name: 'enclave-spy',
  group: 'process',
  by: 'enclave',
  control: 'pages of its own runner are read',
  title: "an enclave that looks for others' secrets",
  tries:
    "reads and writes another enclave's addresses, reads all of its own runner, asks EGETKEY for keys that are not its own",
  run: async (stage: Stage) => [await readOthers(stage), await readRunner(stage), await askKeys(stage)],
});
