/** The addresses of services: https anywhere, http on this machine only, nothing else. */
import { VerifierError } from './errors.js';

const LOOPBACK = new Set(['localhost', '127.0.0.1', '[::1]']);

/**
 * Checks a service's address, without a final slash afterwards.
 * @throws VerifierError FETCH_OPTIONS
 */
export function serviceAddress(text: string, what: string): string {
  let url: URL;
  try {
    url = new URL(text);
  } catch (cause) {
    throw new VerifierError('FETCH_OPTIONS', `The address '${text}' of ${what} is no URL.`, { cause });
  }
  const secure = url.protocol === 'https:' || (url.protocol === 'http:' && LOOPBACK.has(url.hostname));
  if (!secure || url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') {
    throw new VerifierError(
      'FETCH_OPTIONS',
      `The address '${url.origin}${url.pathname}' of ${what} is not used.`,
      {
        advice: 'Give an https address (http only for this machine) without name, password and query.',
      },
    );
  }
  return `${url.origin}${url.pathname.replace(/\/+$/, '')}`;
}
