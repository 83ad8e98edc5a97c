/** A server on loopback that answers as AMD's and Intel's services do, with what a test gives it. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** An answer by status, headers and body, or a function that answers itself. */
export type Route =
  | { status?: number; headers?: Record<string, string>; body?: Uint8Array | string }
  | ((request: IncomingMessage, response: ServerResponse) => void);

/** The server; `asked` are path and query of all requests so far. */
export class Services implements AsyncDisposable {
  readonly asked: string[] = [];
  readonly headers: IncomingMessage['headers'][] = [];
  readonly routes = new Map<string, Route | Route[]>();
  readonly #server = createServer((request, response) => this.#answer(request, response));

  static async start(): Promise<Services> {
    const services = new Services();
    await new Promise<void>((resolve) => services.#server.listen(0, '127.0.0.1', resolve));
    return services;
  }

  get address(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = request.url!;
    this.asked.push(url);
    this.headers.push(request.headers);
    const found = this.routes.get(url);
    // A list is answered one after another; its last stays.
    const route = Array.isArray(found) ? (found.length > 1 ? found.shift()! : found[0]!) : found;
    if (typeof route === 'function') {
      route(request, response);
      return;
    }
    response.writeHead(route?.status ?? (route === undefined ? 404 : 200), route?.headers);
    response.end(route?.body);
  }
}
