/** What the host does when a program asks for its store's key: it carries messages to a key server, and cannot read them. */

/**
 * Carries a message of the enclave to a key server and brings the answer: twice for each start, first for a challenge, then with
 * evidence for the key. Messages are the protocol's (native/src/provision.c); a server's side of it is `KeyServer` of
 * `nestedsgx/keyserver`. What it throws is told in a note, and the program is not started.
 */
export type Provision = (message: Uint8Array) => Uint8Array | Promise<Uint8Array>;

const NONE = new Uint8Array(0);
const HEAD = 8;
const REFUSED = 5;
const MAX_REASON = 512;

/** The OCALL handler (interface.ts): nothing where there is no answer. */
export function provisionHandlers(provision: Provision | undefined, note: (text: string) => void) {
  const failed = (error: unknown): Uint8Array => {
    note(`the key server cannot be asked: ${(error as Error).message}`);
    return NONE;
  };
  const told = (answer: Uint8Array): Uint8Array => {
    if (answer[HEAD - 1] === REFUSED) note(`the key server refuses: ${printable(answer.subarray(HEAD))}`);
    return answer;
  };
  return {
    host_provision(message: Uint8Array): Uint8Array | Promise<Uint8Array> {
      if (provision === undefined) {
        note(
          'the key of the store comes from a key server, and none is named: nsgx exec --provision HOST:PORT',
        );
        return NONE;
      }
      try {
        // The bytes are the enclave's buffer, which is used again.
        const answer = provision(message.slice());
        return answer instanceof Promise ? answer.then(told, failed) : told(answer);
      } catch (error) {
        return failed(error);
      }
    },
  };
}

/** A server's reason in one line. */
function printable(bytes: Uint8Array): string {
  return Buffer.from(bytes.subarray(0, MAX_REASON))
    .toString('utf8')
    .replace(/[^\x20-\x7e]+/g, ' ');
}
