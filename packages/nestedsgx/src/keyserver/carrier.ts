/** Carries an enclave's messages to a key server on the network. */
import { connect, type Socket } from 'node:net';
import { frame, frames } from './frames.js';
import { MAX_ANSWER, REFUSED, typeOf } from './messages.js';

const TIMEOUT_MS = 15_000;
const MESSAGES = 2;

/** What `RunOptions.provision` wants, for one start of a program. */
export function carrier(host: string, port: number, timeoutMs = TIMEOUT_MS) {
  let socket: Socket | undefined;
  let answers: AsyncGenerator<Buffer> | undefined;
  let failure: Error | undefined;
  let left = MESSAGES;
  return async (message: Uint8Array): Promise<Uint8Array> => {
    if (socket === undefined) {
      socket = connect({ host, port });
      const own = socket;
      own.setTimeout(timeoutMs, () => own.destroy(new Error(`no answer in ${timeoutMs / 1000} s`)));
      own.on('error', (error) => {
        failure = error;
      });
      answers = frames(own, MAX_ANSWER);
    }
    try {
      socket.ref();
      socket.write(frame(message));
      const { value } = await answers!.next();
      if (value === undefined) throw new Error('it ended the connection');
      // Nobody need come back with the second message.
      if (--left === 0 || typeOf(value) === REFUSED) socket.destroy();
      else socket.unref();
      return value;
    } catch (error) {
      socket.destroy();
      throw new Error(`${host}:${port}: ${(failure ?? (error as Error)).message}`);
    }
  };
}
