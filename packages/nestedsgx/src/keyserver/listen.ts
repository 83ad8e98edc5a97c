/** A key server on the network. The channel needs no protection of its own: messages are made for carriers that nobody trusts. */
import { createServer, type Server, type Socket } from 'node:net';
import { frame, frames } from './frames.js';
import { MAX_REQUEST, refusal } from './messages.js';
import type { KeyDecision, KeyServer } from './server.js';

const MAX_CONNECTIONS = 64;
const LIFE_MS = 15_000;

/** Where it listens, and what it is told. */
export interface ListenOptions {
  readonly host: string;
  readonly port: number;
  /** Connections at once; 64. */
  readonly connections?: number;
  /** How long a connection may take; 15 s. */
  readonly lifeMs?: number;
  /** Told of connections that were ended before a decision, and why. */
  readonly onDecision?: (decision: KeyDecision) => void;
}

async function serve(socket: Socket, server: KeyServer): Promise<void> {
  const converse = server.conversation();
  let left = 2;
  for await (const request of frames(socket, MAX_REQUEST)) {
    socket.write(frame(await converse(request)));
    if (--left === 0) break;
  }
  socket.end();
}

/** Listens; the promise is kept when it does. */
export async function listen(keys: KeyServer, options: ListenOptions): Promise<Server> {
  const life = options.lifeMs ?? LIFE_MS;
  const server = createServer((socket) => {
    const timer = setTimeout(() => {
      options.onDecision?.({ given: false, reason: `a connection took more than ${life / 1000} s` });
      socket.destroy();
    }, life);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => clearTimeout(timer));
    serve(socket, keys).catch((error: Error) => {
      if (socket.destroyed) return;
      options.onDecision?.({ given: false, reason: error.message });
      // What is still coming is not read any more; the timer ends who does not.
      socket.end(frame(refusal(error.message)));
    });
  });
  server.maxConnections = options.connections ?? MAX_CONNECTIONS;
  server.on('drop', () => options.onDecision?.({ given: false, reason: 'too many connections at once' }));
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, options.host, () => {
      server.off('error', reject);
      resolve();
    });
  });
  return server;
}
