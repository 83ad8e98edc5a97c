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
  await serve(message.bytes);
}
process.exit(0);

/** Answers once, or twice when the suite wants to know that the act has begun. */
async function serve(bytes: Uint8Array): Promise<void> {
  const { act, args, begin } = JSON.parse(new TextDecoder().decode(bytes)) as {
    act: keyof typeof acts;
    args: never;
    begin?: boolean;
  };
  if (begin) answer({ ok: true });
  answer(await perform(act, args));
}

async function perform(act: keyof typeof acts, args: never): Promise<object> {
  try {
    return { ok: true, value: (await acts[act](world as never, args)) ?? null };
  } catch (error) {
    const { code, message } = error as { code?: unknown; message?: unknown };
    return { ok: false, code: String(code ?? 'ERROR'), message: String(message ?? error) };
  }
}

function answer(message: object): void {
  sendFds(SOCKET, new TextEncoder().encode(JSON.stringify(message)), [], 5000);
}
