/**
 * An adversary: a process of its own that holds nothing but guest RAM (descriptor 4, if it plays the guest) and a socket
 * to the suite (descriptor 3). It gives up root before it does anything, and does what the suite tells it.
 * Arguments: uid and gid to become (or nothing).
 */
import { becomeUser, recvFds, sendFds } from '@nestedsgx/os';
import { acts } from './acts.js';
import type { World } from './world.js';

const SOCKET = 3;
const world: World = { ram: null, sockets: [], share: null };

const [uid, gid] = process.argv.slice(2).map(Number);
if (process.getuid?.() === 0 && uid !== undefined && gid !== undefined) becomeUser(uid, gid);

for (;;) {
  const message = recvFds(SOCKET, 65_536, 0, 60_000);
  if (message === null) continue;
  if (message.eof) break;
  sendFds(SOCKET, new TextEncoder().encode(JSON.stringify(await perform(message.bytes))), [], 5000);
}
process.exit(0);

async function perform(bytes: Uint8Array): Promise<object> {
  try {
    const { act, args } = JSON.parse(new TextDecoder().decode(bytes)) as {
      act: keyof typeof acts;
      args: never;
    };
    return { ok: true, value: (await acts[act](world as never, args)) ?? null };
  } catch (error) {
    const { code, message } = error as { code?: unknown; message?: unknown };
    return { ok: false, code: String(code ?? 'ERROR'), message: String(message ?? error) };
  }
}
