/** Messages on a stream: each after its length, 32 bits, big endian. */
import type { Socket } from 'node:net';

/** A message as it is sent. */
export function frame(message: Uint8Array): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt32BE(message.length);
  return Buffer.concat([head, message]);
}

/**
 * Messages of a socket, as they come; throws for one longer than `limit`. Ends with the
 * socket's end, in the middle of a message too, and leaves the socket open.
 */
export async function* frames(socket: Socket, limit: number): AsyncGenerator<Buffer> {
  let pending = Buffer.alloc(0);
  for await (const data of socket.iterator({ destroyOnReturn: false })) {
    pending = Buffer.concat([pending, data as Buffer]);
    while (pending.length >= 4) {
      const length = pending.readUInt32BE();
      if (length > limit) throw new Error(`a message has ${length} bytes; ${limit} is the limit`);
      if (pending.length < 4 + length) break;
      yield pending.subarray(4, 4 + length);
      pending = pending.subarray(4 + length);
    }
    if (pending.length > 4 + limit) throw new Error('more was sent than is taken');
  }
}
