/** A key server: gives keys to enclaves whose evidence it accepts, by messages that somebody carries. */
import { createCipheriv, createECDH, hkdfSync, randomBytes } from 'node:crypto';
import { type Collateral, evidenceFormat, type Policy, verify } from '@nestedsgx/attest';
import { Master } from './master.js';
import {
  ANSWER_LABEL,
  CHALLENGE,
  EVIDENCE,
  HEAD,
  HELLO,
  KEY,
  MAX_REQUEST,
  message,
  NONCE,
  POINT,
  refusal,
  reportDataFor,
  transcript,
  typeOf,
} from './messages.js';
import { type KeyRules, parseRules } from './rules.js';

const CHALLENGE_LIFE_MS = 60_000;
const NAME = /^[A-Za-z0-9._-]{1,64}$/;

/** What a key server did with a request. */
export interface KeyDecision {
  readonly given: boolean;
  /** The key that was asked for; absent when that was not said. */
  readonly name?: string;
  /** Why not; of evidence the checks that failed. */
  readonly reason?: string;
  /** What the evidence says it is about; of a refused one nobody's word but its own. */
  readonly mrenclave?: string;
  readonly mrsigner?: string;
}

/** What a key server is made of. */
export interface KeyServerOptions {
  /** 32 secret bytes. Whoever has them has all keys. */
  readonly master: Uint8Array;
  /** Who gets which key. */
  readonly rules: KeyRules | ReadonlyMap<string, Policy>;
  readonly collateral?: Collateral;
  /** Told of every decision. */
  readonly onDecision?: (decision: KeyDecision) => void;
}

/** Why a request is refused. */
class Refusal extends Error {
  constructor(
    reason: string,
    readonly about: Partial<KeyDecision> = {},
  ) {
    super(reason);
  }
}

/** A key server without a network: who asks for keys holds a conversation with it. */
export class KeyServer {
  readonly #master: Master;
  readonly #rules: ReadonlyMap<string, Policy>;
  readonly #collateral: Collateral | undefined;
  readonly #told: (decision: KeyDecision) => void;

  /** @throws KEY_MASTER_INVALID, KEY_RULES_INVALID */
  constructor(options: KeyServerOptions) {
    this.#master = new Master(options.master);
    this.#rules = options.rules instanceof Map ? options.rules : parseRules(options.rules);
    this.#collateral = options.collateral;
    this.#told = options.onDecision ?? (() => {});
  }

  /** The public key that images name. */
  get publicKey(): string {
    return this.#master.publicKey;
  }

  /**
   * A conversation with one enclave: takes its two messages, in order, once each, and gives what is to be carried back. Use it as
   * `provision` of a program that is run, or behind a transport of your own.
   */
  conversation(): (message: Uint8Array) => Promise<Uint8Array> {
    let challenge: { hello: Buffer; text: Buffer; until: number } | undefined;
    let begun = false;
    return async (bytes) => {
      const request = Buffer.from(bytes);
      try {
        if (bytes.length > MAX_REQUEST) throw new Refusal('the message is too long');
        if (!begun && typeOf(request) === HELLO) {
          begun = true;
          this.#greet(request);
          const text = message(CHALLENGE, randomBytes(NONCE));
          challenge = { hello: request, text, until: performance.now() + CHALLENGE_LIFE_MS };
          return text;
        }
        const asked = challenge;
        challenge = undefined;
        if (asked === undefined || typeOf(request) !== EVIDENCE)
          throw new Refusal('this is no message for a key server, or not in its turn');
        if (performance.now() > asked.until) throw new Refusal('the challenge is too old');
        return await this.#answer(asked.hello, asked.text, request);
      } catch (error) {
        if (!(error instanceof Refusal)) {
          this.#told({ given: false, reason: `a failure here: ${(error as Error).message}` });
          return refusal('the key server failed; its log says why');
        }
        this.#told({ given: false, reason: error.message, ...error.about });
        return refusal(error.message);
      }
    };
  }

  #nameOf(hello: Buffer): string {
    return hello.toString('latin1', HEAD + POINT);
  }

  #greet(hello: Buffer): void {
    const name = this.#nameOf(hello);
    if (!NAME.test(name)) throw new Refusal('the name of the key is none');
    if (!hello.subarray(HEAD, HEAD + POINT).equals(this.#master.point))
      throw new Refusal('the image wants a key server with another public key', { name });
    if (!this.#rules.has(name)) throw new Refusal(`there is no key "${name}" here`, { name });
  }

  async #answer(hello: Buffer, challenge: Buffer, evidence: Buffer): Promise<Buffer> {
    const name = this.#nameOf(hello);
    const quote = new Uint8Array(evidence.subarray(HEAD + POINT));
    if (evidenceFormat(quote) !== 'evidence')
      throw new Refusal('the evidence is none of this system', { name });
    const { verdict, checks, claims } = await verify(quote, {
      policy: this.#rules.get(name)!,
      collateral: this.#collateral,
      reportData: reportDataFor(hello, challenge, evidence),
    });
    const about = { name, ...identity(claims) };
    if (verdict !== 'accepted') {
      const failed = checks.filter(({ status }) => status === 'failed');
      throw new Refusal(
        failed.map(({ id, detail }) => `${id}: ${detail}`).join('; ') || 'a check that is needed was skipped',
        about,
      );
    }
    const answer = this.#encrypt(hello, challenge, evidence, name);
    this.#told({ given: true, ...about });
    return answer;
  }

  #encrypt(hello: Buffer, challenge: Buffer, evidence: Buffer, name: string): Buffer {
    const point = evidence.subarray(HEAD, HEAD + POINT);
    const fresh = createECDH('prime256v1');
    const head = message(KEY, fresh.generateKeys().subarray(1));
    let shared: Buffer;
    try {
      shared = Buffer.concat([
        this.#master.exchange(point),
        fresh.computeSecret(Buffer.concat([Buffer.of(4), point])),
      ]);
    } catch {
      throw new Refusal("the enclave's key is none", { name });
    }
    const said = transcript(hello, challenge, evidence, head);
    const wrap = Buffer.from(hkdfSync('sha256', shared, said, ANSWER_LABEL, 32));
    // The key is for this one message.
    const cipher = createCipheriv('aes-256-gcm', wrap, Buffer.alloc(12));
    cipher.setAAD(said);
    const key = this.#master.key(name);
    const encrypted = Buffer.concat([cipher.update(key), cipher.final()]);
    for (const secret of [key, wrap, shared]) secret.fill(0);
    return Buffer.concat([head, encrypted, cipher.getAuthTag()]);
  }
}

function identity(claims: Record<string, unknown>): Pick<KeyDecision, 'mrenclave' | 'mrsigner'> {
  const { mrenclave, mrsigner } = claims;
  return {
    ...(typeof mrenclave === 'string' ? { mrenclave } : {}),
    ...(typeof mrsigner === 'string' ? { mrsigner } : {}),
  };
}
