// The one way in: `npm start`, `npm test` and `npm run soak` come through here. Written in ES5 so that an old Node
// parses it and can say what to do, instead of failing on syntax.
'use strict';
var childProcess = require('child_process');
var crypto = require('crypto');
var fs = require('fs');
var path = require('path');

var ROOT = path.join(__dirname, '..');
var WANTED = { major: 20, minor: 19 };
// What the native parts are built with. Each tool stands for the Debian package that brings it.
var TOOLS = [
  { command: 'gcc', debian: 'gcc' },
  { command: 'ld', debian: 'binutils' },
  { command: 'make', debian: 'make' }
];
var HEADERS = [
  { path: '/usr/include/stdio.h', debian: 'libc6-dev' },
  { path: '/usr/include/linux/userfaultfd.h', debian: 'linux-libc-dev' }
];
// What single tests need; without it they are skipped.
var TEST_PACKAGES = [
  {
    what: 'what a Linux guest is booted with',
    without: 'tests that boot a guest are skipped',
    packages: [
      { debian: 'qemu-system-x86', there: hasCommand('qemu-system-x86_64') },
      { debian: 'linux-image-cloud-amd64', there: hasFile('/boot', /^vmlinuz-.*amd64$/) },
      {
        debian: 'linux-headers-cloud-amd64',
        there: hasFile('/usr/src', /^linux-headers-.*-(cloud-)?amd64$/)
      },
      { debian: 'busybox-static', there: hasCommand('busybox') }
    ]
  },
  {
    what: 'a browser for the verification page',
    without: 'the test in a browser is skipped',
    packages: [{ debian: 'chromium', there: hasCommand('chromium') }]
  }
];

function hasCommand(command) {
  return () =>
    String(process.env.PATH || '')
      .split(':')
      .some((dir) => dir !== '' && fs.existsSync(path.join(dir, command)));
}

function hasFile(dir, pattern) {
  return () => fs.existsSync(dir) && fs.readdirSync(dir).some((name) => pattern.test(name));
}

function say(text) {
  process.stderr.write(text + '\n');
}

function stop(text) {
  say('nestedsgx: ' + text);
  process.exit(1);
}

function checkNode() {
  var parts = process.versions.node.split('.');
  var major = Number(parts[0]);
  var minor = Number(parts[1]);
  if (major < WANTED.major || (major === WANTED.major && minor < WANTED.minor)) {
    stop(
      'this is Node ' +
        process.versions.node +
        '; version 20.19 or newer is needed.\n' +
        'Install a newer Node (for example from nodejs.org, or with nvm: nvm install 22) and run the command again.'
    );
  }
}

function checkMachine() {
  if (process.platform === 'linux' && process.arch === 'x64') return;
  stop(
    'enclaves run on x86-64 Linux; this is ' +
      process.platform +
      ' on ' +
      process.arch +
      '.\n' +
      'Signing, measuring and verifying work anywhere: install the package and use those commands of nsgx directly.'
  );
}

function run(command, args, options) {
  var result = childProcess.spawnSync(
    command,
    args,
    Object.assign({ cwd: ROOT, stdio: 'inherit' }, options || {})
  );
  if (result.error) stop(command + ' could not be started: ' + result.error.message);
  return result.status === null ? 1 : result.status;
}

function missingPackages() {
  var missing = [];
  TOOLS.forEach((tool) => {
    if (!hasCommand(tool.command)()) missing.push(tool.debian);
  });
  HEADERS.forEach((header) => {
    // Debian keeps these two under /usr/include; elsewhere the compiler will say what it misses.
    if (fs.existsSync('/etc/debian_version') && !fs.existsSync(header.path)) missing.push(header.debian);
  });
  return missing;
}

function systemPackages() {
  var missing = missingPackages();
  if (missing.length === 0) return;
  var list = missing.join(' ');
  if (!isDebian())
    stop('these system packages are missing: ' + list + '. Install them and run the command again.');
  if (!isRoot()) {
    stop(
      'these system packages are missing: ' +
        list +
        '.\nRun: sudo apt-get install ' +
        list +
        '\nthen run the command again.'
    );
  }
  say('nestedsgx: installing the missing system packages: apt-get install ' + list);
  if (!aptInstall(missing)) stop('apt-get could not install ' + list + '; its message is above.');
}

function isDebian() {
  return fs.existsSync('/etc/debian_version');
}

function isRoot() {
  return typeof process.getuid === 'function' && process.getuid() === 0;
}

function aptInstall(packages) {
  var env = Object.assign({}, process.env, { DEBIAN_FRONTEND: 'noninteractive' });
  var apt = ['install', '--yes', '--no-install-recommends'].concat(packages);
  var quiet = { env: env, stdio: ['ignore', 'ignore', 'inherit'] };
  run('apt-get', ['update'], quiet);
  return run('apt-get', apt, quiet) === 0;
}

// Nothing but these tests needs them, so a machine that cannot have them goes on without.
function testPackages() {
  if (!isDebian() || !isRoot() || process.env.NSGX_NO_TEST_PACKAGES) return;
  TEST_PACKAGES.forEach((group) => {
    var missing = group.packages.filter((one) => !one.there()).map((one) => one.debian);
    if (missing.length === 0) return;
    say('nestedsgx: installing ' + group.what + ': apt-get install ' + missing.join(' '));
    if (!aptInstall(missing)) say('nestedsgx: that could not be installed; ' + group.without);
  });
}

function npmPackages() {
  var lock = fs.readFileSync(path.join(ROOT, 'package-lock.json'));
  var digest = crypto.createHash('sha256').update(lock).digest('hex');
  var marker = path.join(ROOT, 'node_modules', '.nestedsgx-lock');
  if (fs.existsSync(marker) && fs.readFileSync(marker, 'utf8') === digest) return;
  say('nestedsgx: installing the packages of the lockfile');
  if (
    run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
      stdio: ['ignore', 'ignore', 'inherit']
    }) !== 0
  ) {
    stop(
      'npm ci failed; its message is above. Check the connection to the npm registry and run the command again.'
    );
  }
  fs.writeFileSync(marker, digest);
}

function build() {
  if (run(process.execPath, [path.join(__dirname, 'build.mjs')]) !== 0)
    stop('the build failed; its message is above.');
}

var COMMANDS = {
  start: ['packages/nestedsgx/bin/nsgx.mjs', 'demo'],
  test: ['scripts/test.mjs'],
  soak: ['scripts/test.mjs', '--soak'],
  build: []
};

function main() {
  var name = process.argv[2];
  if (!Object.hasOwn(COMMANDS, name)) stop('usage: node scripts/bootstrap.cjs start|test|soak|build');
  checkNode();
  checkMachine();
  systemPackages();
  if (name === 'test' || name === 'soak') testPackages();
  npmPackages();
  build();
  if (COMMANDS[name].length === 0) return;
  process.exit(run(process.execPath, COMMANDS[name].concat(process.argv.slice(3))));
}

main();
