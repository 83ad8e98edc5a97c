/** The certificate of a TLS server, for `nsgx verify tls://HOST:PORT`. */
import { connect } from 'node:tls';
import { UsageError } from './terminal.js';

const TIMEOUT_MS = 20_000;
const SCHEME = 'tls://';

/** True for what names a server and not a file. */
export function isServer(text: string): boolean {
  return text.startsWith(SCHEME);
}

/**
 * The certificate (DER) of a server that has proved in a TLS handshake to have its key. Who signed it and for which name is not
 * looked at: the evidence says whose it is.
 * @throws UsageError for an address that is none, or when there is no such server
 */
export async function peerCertificate(text: string): Promise<Uint8Array> {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const port = Number(url?.port);
  if (url === undefined || url.hostname === '' || !(port > 0) || !['', '/'].includes(url.pathname))
    throw new UsageError(`a server is named ${SCHEME}HOST:PORT, not "${text}"`);
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  return new Promise((resolve, reject) => {
    const refuse = (why: string) => reject(new UsageError(`${text} cannot be asked: ${why}`));
    const socket = connect({ host, port, rejectUnauthorized: false, minVersion: 'TLSv1.2' }, () => {
      const certificate = socket.getPeerX509Certificate();
      socket.destroy();
      if (certificate === undefined) refuse('it gave no certificate');
      else resolve(new Uint8Array(certificate.raw));
    });
    socket.setTimeout(TIMEOUT_MS, () => {
      socket.destroy();
      refuse(`no answer in ${TIMEOUT_MS / 1000} s`);
    });
    socket.on('error', (error) => refuse(error.message));
  });
}
