/** Servers over loopback; their clients run natively beside them, and take their share of the CPUs on every side. */
import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { figureIn, figures, path } from './said.js';
import type { Side, Stage } from './stage.js';
import type { Subject } from './subject.js';

const WAIT_MS = 10_000;
const PAGE = 10 * 1024;
/** Servers look up whom they shall run as. */
const ACCOUNTS = ['/etc/passwd', '/etc/group', '/etc/nsswitch.conf'];
const client = promisify(execFile);

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('there is no free port');
  return address.port;
}

/** Waits until somebody listens. @throws when nobody does for ten seconds */
async function listening(port: number): Promise<void> {
  const limit = performance.now() + WAIT_MS;
  for (;;) {
    const there = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => resolve(true));
      socket.on('error', () => resolve(false));
      socket.on('connect', () => socket.destroy());
    });
    if (there) return;
    if (performance.now() > limit) throw new Error(`nobody listens on port ${port} after ten seconds`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function output(program: string, args: readonly string[]): Promise<string> {
  const { stdout } = await client(path(program), [...args], { timeout: 60_000, encoding: 'latin1' });
  return stdout;
}

/** `nsgx bench libos --only redis`. */
export const redis: Subject = {
  name: 'redis',
  needs: [
    { program: 'redis-server', package: 'redis-server' },
    { program: 'redis-benchmark', package: 'redis-tools' },
  ],
  rounds: 3,
  transports: true,
  figures: Object.fromEntries(
    ['GET', 'SET'].map((name) => [name, { unit: '1/s', note: 'redis-benchmark, 50 clients, no pipelining' }]),
  ),
  begin(stage: Stage, short: boolean) {
    return async (side: Side) => {
      const port = await freePort();
      const argv = [
        ...[
          path('redis-server'),
          '--port',
          String(port),
          '--bind',
          '127.0.0.1',
          '--save',
          '',
          '--appendonly',
          'no',
        ],
        ...['--dir', '/tmp', '--daemonize', 'no', '--logfile', ''],
      ];
      return stage.serving(side, { argv, options: ['--memory', '256'] }, async () => {
        await listening(port);
        const args = [
          '-p',
          String(port),
          '-c',
          '50',
          '-n',
          short ? '500' : '60000',
          '-t',
          'get,set',
          '--csv',
        ];
        const text = await output('redis-benchmark', args);
        return figures({
          GET: () => figureIn(text, /"GET","([0-9.]+)"/),
          SET: () => figureIn(text, /"SET","([0-9.]+)"/),
        });
      });
    };
  },
};

interface WebServer {
  readonly program: string;
  readonly package: string;
  config(port: number, root: string): string;
  args(config: string): string[];
}

const LIGHTTPD: WebServer = {
  program: 'lighttpd',
  package: 'lighttpd',
  config: (port, root) =>
    [
      `server.port = ${port}`,
      'server.bind = "127.0.0.1"',
      `server.document-root = "${root}"`,
      'server.upload-dirs = ("/tmp")',
      'server.max-keep-alive-requests = 1000000',
      'mimetype.assign = (".html" => "text/html")',
      '',
    ].join('\n'),
  args: (config) => ['-D', '-f', config],
};

const NGINX: WebServer = {
  program: 'nginx',
  package: 'nginx-light',
  config: (port, root) =>
    `daemon off; master_process off; pid /tmp/nsgx-bench-nginx-${port}.pid; error_log stderr;
events { worker_connections 256; }
http {
  access_log off; keepalive_requests 1000000; types { text/html html; }
  client_body_temp_path /tmp/nginx-body; proxy_temp_path /tmp/nginx-proxy; fastcgi_temp_path /tmp/nginx-fastcgi;
  uwsgi_temp_path /tmp/nginx-uwsgi; scgi_temp_path /tmp/nginx-scgi;
  server { listen 127.0.0.1:${port}; root ${root}; }
}
`,
  args: (config) => ['-c', config, '-e', '/dev/stderr'],
};

function web(server: WebServer): Subject {
  return {
    name: server.program,
    needs: [
      { program: server.program, package: server.package },
      { program: 'wrk', package: 'wrk' },
    ],
    rounds: 3,
    transports: true,
    figures: { 'page of 10 KiB': { unit: '1/s', note: 'wrk, one thread, 16 connections that stay' } },
    begin(stage: Stage, short: boolean) {
      const folder = stage.place(server.program);
      const root = join(folder, 'root');
      const page = join(root, 'page.html');
      mkdirSync(root, { recursive: true });
      writeFileSync(page, 'x'.repeat(PAGE));
      return async (side: Side) => {
        const port = await freePort();
        const config = join(folder, `${port}.conf`);
        writeFileSync(config, server.config(port, root));
        const argv = [path(server.program), ...server.args(config)];
        const options = [page, config, ...ACCOUNTS]
          .flatMap((file) => ['--copy', file])
          .concat('--memory', '128');
        return stage.serving(side, { argv, options }, async () => {
          await listening(port);
          const time = short ? '1s' : '3s';
          const text = await output('wrk', [
            '-t1',
            '-c16',
            `-d${time}`,
            `http://127.0.0.1:${port}/page.html`,
          ]);
          if (/Non-2xx|Socket errors/.test(text)) throw new Error(`answers were wrong: ${text}`);
          return figures({ 'page of 10 KiB': () => figureIn(text, /Requests\/sec:\s*([0-9.]+)/) });
        });
      };
    },
  };
}

/** `nsgx bench libos --only lighttpd`, `--only nginx`. */
export const lighttpd = web(LIGHTTPD);
export const nginx = web(NGINX);
