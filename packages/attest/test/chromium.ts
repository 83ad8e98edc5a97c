/** A headless Chromium, driven over the pipe of its DevTools protocol. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import type { Readable, Writable } from 'node:stream';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome'];

/** Where a Chromium is, or null. */
export function findChromium(): string | null {
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  for (const name of NAMES)
    for (const folder of folders)
      if (folder !== '' && existsSync(join(folder, name))) return join(folder, name);
  return null;
}

type Reply = {
  id?: number;
  result?: unknown;
  error?: { message: string };
  method?: string;
  params?: unknown;
};
const ENDED = { message: 'Chromium has ended' };
type Params = Record<string, unknown>;

/** One page of a browser of its own. */
export class Chromium implements AsyncDisposable {
  readonly #process: ChildProcess;
  readonly #profile: string;
  readonly #waiting = new Map<number, (reply: Reply) => void>();
  readonly #events: { method: string; params: Params }[] = [];
  readonly #ended: Promise<void>;
  #session = '';
  #next = 1;
  #rest = '';
  #gone = false;

  private constructor(path: string) {
    this.#profile = mkdtempSync(join(tmpdir(), 'nestedsgx-chromium-'));
    this.#process = spawn(
      path,
      [
        '--headless',
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
        '--disable-dev-shm-usage',
        '--remote-debugging-pipe',
        '--window-size=1200,1500',
        `--user-data-dir=${this.#profile}`,
        'about:blank',
      ],
      { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] },
    );
    this.#ended = new Promise((resolve) => {
      this.#process.once('exit', () => {
        this.#gone = true;
        for (const answer of this.#waiting.values()) answer({ error: ENDED });
        resolve();
      });
      this.#process.once('error', () => {
        this.#gone = true;
        resolve();
      });
      // What is written to a browser that has ended is answered by the above.
      this.#process.stdio[3]?.on('error', () => undefined);
    });
    (this.#process.stdio[4] as Readable).setEncoding('utf8').on('data', (chunk: string) => this.#read(chunk));
  }

  /** Starts a browser and opens `url`. */
  static async open(path: string, url: string): Promise<Chromium> {
    const browser = new Chromium(path);
    try {
      const { targetInfos } = (await browser.send('Target.getTargets')) as {
        targetInfos: { targetId: string; type: string }[];
      };
      const { targetId } = targetInfos.find(({ type }) => type === 'page')!;
      const attached = (await browser.send('Target.attachToTarget', { targetId, flatten: true })) as {
        sessionId: string;
      };
      browser.#session = attached.sessionId;
      for (const domain of ['Page', 'Runtime', 'Network', 'DOM', 'Log'])
        await browser.send(`${domain}.enable`);
      await browser.send('Page.navigate', { url });
      await browser.until('document.readyState === "complete" && location.href !== "about:blank"');
      return browser;
    } catch (error) {
      await browser[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Events of one kind so far. */
  events(method: string): Params[] {
    return this.#events.filter((event) => event.method === method).map(({ params }) => params);
  }

  /** One command. @throws Error with the browser's message */
  async send(method: string, params: Params = {}): Promise<unknown> {
    if (this.#gone) throw new Error(`${method}: ${ENDED.message}`);
    const id = this.#next++;
    const reply = new Promise<Reply>((resolve) => this.#waiting.set(id, resolve));
    const session = this.#session === '' ? {} : { sessionId: this.#session };
    (this.#process.stdio[3] as Writable).write(`${JSON.stringify({ id, method, params, ...session })}\0`);
    const { result, error } = await reply;
    if (error !== undefined) throw new Error(`${method}: ${error.message}`);
    return result;
  }

  /** The value of an expression in the page. */
  async evaluate(expression: string): Promise<unknown> {
    const { result, exceptionDetails } = (await this.send('Runtime.evaluate', {
      expression,
      awaitPromise: true,
      returnByValue: true,
    })) as { result: { value: unknown }; exceptionDetails?: { text: string } };
    if (exceptionDetails !== undefined) throw new Error(`${expression}: ${exceptionDetails.text}`);
    return result.value;
  }

  /** Waits until the expression is true. */
  async until(expression: string): Promise<void> {
    const end = Date.now() + 20_000;
    while ((await this.evaluate(expression)) !== true) {
      if (Date.now() > end) throw new Error(`never true: ${expression}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Gives files to the input that the selector names, as a user does. */
  async giveFiles(selector: string, files: readonly string[]): Promise<void> {
    const { root } = (await this.send('DOM.getDocument')) as { root: { nodeId: number } };
    const { nodeId } = (await this.send('DOM.querySelector', { nodeId: root.nodeId, selector })) as {
      nodeId: number;
    };
    await this.send('DOM.setFileInputFiles', { nodeId, files });
  }

  /** The page as a picture (PNG). */
  async picture(): Promise<Uint8Array> {
    const { data } = (await this.send('Page.captureScreenshot', { captureBeyondViewport: true })) as {
      data: string;
    };
    return Buffer.from(data, 'base64');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Asked to close, it ends its helpers, which would go on writing into the profile.
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), 5000);
    this.#session = '';
    await this.send('Browser.close').catch(() => undefined);
    await this.#ended;
    clearTimeout(timer);
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
  }

  #read(chunk: string): void {
    const messages = (this.#rest + chunk).split('\0');
    this.#rest = messages.pop()!;
    for (const message of messages) {
      const reply = JSON.parse(message) as Reply;
      if (reply.id !== undefined) {
        this.#waiting.get(reply.id)?.(reply);
        this.#waiting.delete(reply.id);
      } else this.#events.push({ method: reply.method!, params: reply.params as Params });
    }
  }
}
