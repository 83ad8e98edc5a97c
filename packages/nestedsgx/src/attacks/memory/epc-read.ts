import { randomBytes } from 'node:crypto';
import { SVSM, SVSM_CORE, SVSM_PROTOCOL, svsmResultName } from '@nestedsgx/arch';
import type { GuestConnection } from '@nestedsgx/guest';
import { bytes64, text64 } from '../adversary/world.js';
import { type Attack, type Finding, finding } from '../attack.js';
import type { Stage } from '../stage/stage.js';
import { buildStepwise, removeFrame } from '../stage/stepwise.js';
import { fill, leaks, type Vault } from '../stage/vault.js';
import { victimOf } from '../stage/victim.js';

const PAGE = 4096;

/** Reads EPC by its guest-physical address, and all of guest RAM for what lies there. */
async function readEpc(stage: Stage): Promise<Finding> {
  const vault = await stage.vault();
  const adversary = await stage.adversary(stage.cast.guest);
  const attempts = await adversary.act('read', { gpa: vault.gpa, length: vault.secret.length });
  const found = await adversary.act('search', { needle: text64(vault.secret.subarray(0, 16)) });
  const marker = await searchMarker(stage);
  const told = attempts.map(
    ({ way, bytes, why }) => `${way}: ${bytes === null ? why : 'bytes that are not the secret'}`,
  );
  return finding(
    stage.cast.guest.label,
    `secret at gPA 0x${vault.gpa.toString(16)}; ${told.join('; ')}; all of guest RAM searched: not there (a marker that the host put there was found)`,
    [
      ...attempts.map(({ way, bytes }) =>
        bytes !== null && leaks(vault.secret, bytes64(bytes)) ? `${way} gave the secret` : null,
      ),
      !marker && 'the search does not find what is there, so it shows nothing',
      found.length > 0 && `the secret lies in guest RAM at 0x${found[0]!.toString(16)}`,
    ],
  );
}

/** Whether the search finds sixteen bytes that the host puts into its own memory. */
async function searchMarker(stage: Stage): Promise<boolean> {
  const { connection } = await stage.host();
  const adversary = await stage.adversary(stage.cast.guest);
  const block = connection.memory.alloc(64);
  const marker = new Uint8Array(randomBytes(16));
  block.bytes.set(marker, 16);
  const found = await adversary.act('search', { needle: text64(marker) });
  connection.memory.free(block);
  return found.includes(block.gpa + 16);
}

/** Deposits a page that the attacker sees, lets an enclave keep its secret there, and looks and writes again. */
async function readDeposited(stage: Stage): Promise<Finding> {
  const { connection, device } = await stage.host();
  const adversary = await stage.adversary(stage.cast.guest);
  const block = connection.memory.alloc(PAGE, { alignment: PAGE, zero: true });
  const own = new Uint8Array(PAGE).fill(0x77);
  const broken: (string | null | false)[] = [];
  let vault: Vault | null = null;
  const peek = async () => bytes64(await adversary.act('peek', { gpa: block.gpa, length: PAGE }));
  try {
    await adversary.act('poke', { gpa: block.gpa, bytes: text64(own) });
    const before = (await peek()).every((byte) => byte === 0x77);
    broken.push(!before && 'the attacker did not even see its own bytes before');
    pageList(connection, SVSM_CORE.DEPOSIT_MEM, block.gpa);
    const after = await peek();
    broken.push(
      after.some((byte) => byte !== 0) && 'the mapping shows something other than zeros after the deposit',
    );
    const image = stage.image('evil');
    const built = buildStepwise(device, image, { lastPageFrame: block.gpa });
    vault = fill(victimOf(connection, built, image.description, image.page));
    const while_ = await peek();
    broken.push(leaks(vault.secret, while_) && 'the mapping shows the secret of the enclave');
    await adversary.act('poke', { gpa: block.gpa, bytes: text64(new Uint8Array(PAGE).fill(0x99)) });
    broken.push(!vault.intact() && 'what the attacker wrote reached the enclave');
    const { secret } = vault;
    removeFrame(device, block.gpa);
    await vault.close();
    vault = null;
    pageList(connection, SVSM_CORE.WITHDRAW_MEM, block.gpa);
    const given = await peek();
    broken.push(
      given.some((byte) => byte !== 0) && 'the page was not scrubbed when it became guest RAM again',
    );
    broken.push(leaks(secret, given) && 'the page held the secret when it became guest RAM again');
    connection.memory.free(block);
  } finally {
    await vault?.close();
  }
  return finding(
    stage.cast.guest.label,
    'a guest page: own bytes before, zeros once deposited as EPC, bytes written there never reached the enclave that ' +
      'keeps its secret in it, zeros again when withdrawn',
    broken,
  );
}

/** DEPOSIT_MEM or WITHDRAW_MEM of one page. */
function pageList(connection: GuestConnection, call: number, gpa: number): void {
  const list = connection.memory.alloc(64, { alignment: PAGE, zero: true });
  const view = new DataView(list.bytes.buffer, list.bytes.byteOffset, 64);
  view.setUint16(0, 1, true);
  view.setBigUint64(8, BigInt(gpa), true);
  const { rax } = connection.vcpu.call(SVSM_PROTOCOL.CORE, call, list.gpa);
  connection.memory.free(list);
  if (rax !== SVSM.SUCCESS) throw new Error(`the page could not be moved: ${svsmResultName(rax)}`);
}

export const epcRead: Attack = Object.freeze({
  name: 'epc-read',
  group: 'memory',
  by: 'guest OS',
  control:
    'the same search finds a marker that the host put into guest RAM, and the mapping shows the page before it is deposited',
  title: 'read enclave memory',
  tries:
    'reads EPC by its guest-physical address through a mapping, mmap and pread of the RAM file; reads and writes a page ' +
    'of guest RAM before, while and after it is EPC',
  run: async (stage: Stage) => [await readEpc(stage), await readDeposited(stage)],
});
