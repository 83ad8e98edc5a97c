/** GET requests with limits: time, size, attempts, hosts. */
import { VerifierError } from './errors.js';

/** How requests are made. All optional. */
export interface HttpOptions {
  /** Milliseconds that one attempt may take, body included. Default 20,000. */
  readonly timeoutMs?: number;
  /** Attempts per request. Default 4. */
  readonly attempts?: number;
  /** Longest wait between attempts; a service that asks for a longer one is given up. Default 60,000. */
  readonly maxDelayMs?: number;
  /** Aborts everything. */
  readonly signal?: AbortSignal;
  /** Told before each wait. */
  readonly onRetry?: (url: string, reason: string, delayMs: number) => void;
}

/** A body with the headers that came with it. */
export interface Answer {
  readonly url: string;
  readonly body: Uint8Array;
  readonly headers: Headers;
}

const FIRST_DELAY_MS = 500;
/** AMD's service lets a client in again after some ten seconds, and does not say so. */
const FIRST_BUSY_DELAY_MS = 4000;
const MAX_REDIRECTS = 3;
/** Overload and passing trouble: worth another attempt. */
const PASSING = new Set([408, 425, 429, 500, 502, 503, 504]);

/** What made an attempt fail, and whether another may do better. */
class AttemptError extends Error {
  constructor(
    message: string,
    readonly passing: boolean,
    readonly status: number | null,
    readonly waitMs: number | null,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Milliseconds that `Retry-After` asks for (RFC 9110 §10.2.3: seconds or a date), or null. */
export function retryAfter(value: string | null, now: number): number | null {
  if (value === null) return null;
  if (/^\s*\d{1,9}\s*$/.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? null : Math.max(0, date - now);
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(done, ms);
    function done(): void {
      signal?.removeEventListener('abort', abort);
      resolve();
    }
    function abort(): void {
      clearTimeout(timer);
      reject(aborted(signal!));
    }
    if (signal?.aborted) abort();
    else signal?.addEventListener('abort', abort, { once: true });
  });
}

function aborted(signal: AbortSignal): VerifierError {
  return new VerifierError('FETCH_FAILED', 'Fetching was aborted.', { cause: signal.reason });
}

async function readBody(response: Response, limit: number, url: string): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  if (response.body === null) return new Uint8Array(0);
  for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
    length += chunk.length;
    if (length > limit)
      throw new VerifierError('FETCH_REFUSED', `The answer of ${url} is longer than ${limit} bytes.`);
    chunks.push(chunk);
  }
  return new Uint8Array(Buffer.concat(chunks));
}

/** Where a redirect leads. @throws VerifierError FETCH_REFUSED when that is another host or scheme */
function redirected(response: Response, url: string): string {
  const location = response.headers.get('location');
  let target: URL | null = null;
  try {
    target = location === null ? null : new URL(location, url);
  } catch {
    // Told below, with what the service sent.
  }
  if (target === null || target.origin !== new URL(url).origin) {
    throw new VerifierError(
      'FETCH_REFUSED',
      `${url} redirects to '${String(location).slice(0, 200)}', which is not the same host.`,
      { advice: 'Give the address of the service itself.' },
    );
  }
  return target.href;
}

async function attempt(
  start: string,
  headers: Record<string, string>,
  limit: number,
  options: HttpOptions,
): Promise<Answer> {
  const timeout = AbortSignal.timeout(options.timeoutMs ?? 20_000);
  const signal = options.signal === undefined ? timeout : AbortSignal.any([timeout, options.signal]);
  let url = start;
  try {
    for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
      const response = await fetch(url, { headers, redirect: 'manual', signal });
      if (response.status >= 300 && response.status < 400) {
        await response.body?.cancel();
        url = redirected(response, url);
        continue;
      }
      if (response.status !== 200) {
        await response.body?.cancel();
        const wait = retryAfter(response.headers.get('retry-after'), Date.now());
        const reason = `status ${response.status}`;
        throw new AttemptError(reason, PASSING.has(response.status), response.status, wait);
      }
      return { url, body: await readBody(response, limit, url), headers: response.headers };
    }
  } catch (error) {
    if (error instanceof VerifierError || error instanceof AttemptError) throw error;
    if (options.signal?.aborted) throw aborted(options.signal);
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    const reason = timeout.aborted
      ? `no answer within ${options.timeoutMs ?? 20_000} ms`
      : String((cause as Error).message || (cause as NodeJS.ErrnoException).code);
    throw new AttemptError(reason, true, null, null, { cause: error });
  }
  throw new VerifierError('FETCH_REFUSED', `${start} redirects more than ${MAX_REDIRECTS} times.`);
}

/**
 * GETs `url`, at most `limit` bytes. Overload and network trouble are tried again, with growing waits or as long as the
 * service asks; redirects are followed on the same host only.
 * @returns the answer, or null for status 404 when `absent` is set
 * @throws VerifierError FETCH_FAILED, FETCH_REFUSED
 */
export async function get(
  url: string,
  limit: number,
  options: HttpOptions,
  more: { headers?: Record<string, string>; absent?: boolean } = {},
): Promise<Answer | null> {
  const attempts = options.attempts ?? 4;
  const longest = options.maxDelayMs ?? 60_000;
  for (let n = 1; ; n++) {
    try {
      return await attempt(url, more.headers ?? {}, limit, options);
    } catch (error) {
      if (!(error instanceof AttemptError)) throw error;
      if (error.status === 404 && more.absent === true) return null;
      const patience = error.waitMs === null || error.waitMs <= longest;
      if (!error.passing || n >= attempts || !patience) {
        const asks = patience ? '' : `, and asks to wait ${Math.ceil(error.waitMs! / 1000)} s`;
        const tries = n === 1 ? '' : ` (${n} attempts)`;
        throw new VerifierError(
          'FETCH_FAILED',
          `${url} cannot be fetched: ${error.message}${asks}${tries}.`,
          {
            cause: error,
            advice: advice(error.status),
          },
        );
      }
      // Full jitter: clients that failed together do not come back together.
      const first = error.status === 429 ? FIRST_BUSY_DELAY_MS : FIRST_DELAY_MS;
      const backoff = first * 2 ** (n - 1) * (0.5 + Math.random() / 2);
      const delay = Math.min(longest, Math.max(error.waitMs ?? 0, backoff));
      options.onRetry?.(url, error.message, delay);
      await pause(delay, options.signal);
    }
  }
}

function advice(status: number | null): string {
  if (status === 429)
    return 'The service limits how often it is asked: wait, keep a collateral directory, or use a cache.';
  if (status === 401 || status === 403)
    return 'The service wants a subscription key for this: give one, or use a PCCS.';
  if (status === 404)
    return 'The service knows nothing of this platform: check that the evidence is of genuine hardware.';
  if (status !== null && status < 500) return 'Check that the address is that of the service.';
  return 'Check the address and the network, then try again.';
}
