/** The standard files against an installed SDK, where there is one (SGX_SDK), and against what enclaves import of them. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { describeEdl, type EdlResolver, parseEdl, STANDARD_EDL, withStandardEdl } from '../src/index.js';

const parse = (text: string, resolve: EdlResolver) =>
  parseEdl({ file: 'Enclave.edl', text }, { resolve, requirePublic: false });
const names = (list: readonly { name: string }[]) => list.map(({ name }) => name);

test('an enclave that imports standard files needs no SDK, and its calls have the numbers of sgx_edger8r', () => {
  const edl = parse(
    `enclave {
       from "sgx_tprotected_fs.edl" import *;
       from "../inc/sgx_tstdc.edl" import *;
       from "sgx_tswitchless.edl" import *;
       trusted { public void ecall_run(); };
       untrusted { void ocall_print([in, string] const char *text); };
     };`,
    withStandardEdl(),
  );
  assert.deepEqual(names(edl.trusted), ['ecall_run', 'sl_init_switchless', 'sl_run_switchless_tworker']);
  const ocalls = names(edl.untrusted);
  assert.deepEqual(ocalls.slice(0, 2), ['ocall_print', 'u_sgxprotectedfs_check_if_file_exists']);
  assert.equal(ocalls.indexOf('sgx_oc_cpuidex'), 8);
  assert.equal(ocalls.indexOf('pthread_wait_timeout_ocall'), 13);
  assert.equal(ocalls.length, 16, 'a file that is imported twice counts once');
});

test('only chosen functions: those and no others', () => {
  const edl = parse(
    'enclave { from "sgx_tstdc.edl" import sgx_oc_cpuidex, sgx_thread_set_untrusted_event_ocall; };',
    withStandardEdl(),
  );
  assert.deepEqual(names(edl.untrusted), ['sgx_oc_cpuidex', 'sgx_thread_set_untrusted_event_ocall']);
});

test('a file of the search path comes first, also for what it imports', () => {
  const own = 'enclave { from "sgx_pthread.edl" import *; untrusted { void mine(); }; };';
  const edl = parse(
    'enclave { from "sgx_tstdc.edl" import *; };',
    withStandardEdl((path) =>
      path === 'sgx_tstdc.edl' ? { file: '/x/sgx_tstdc.edl', text: own } : undefined,
    ),
  );
  assert.equal(names(edl.untrusted)[0], 'mine');
  assert.equal(edl.untrusted.length, 4);
});

test('standard files import standard files, whatever lies beside the enclave', () => {
  const edl = parse(
    'enclave { from "sgx_tprotected_fs.edl" import *; };',
    withStandardEdl((path) =>
      path === 'sgx_pthread.edl'
        ? { file: '/x/sgx_pthread.edl', text: 'enclave { untrusted { void odd(); }; };' }
        : undefined,
    ),
  );
  assert.ok(!names(edl.untrusted).includes('odd'));
});

test('other names stay missing, inherited ones too', () => {
  for (const name of ['sgx_other.edl', 'constructor', 'sgx_tstdc.edl/', '__proto__'])
    assert.equal(withStandardEdl()(name, 'Enclave.edl'), undefined, name);
});

test('every type is known, so that every call can be made', () => {
  for (const [file, text] of Object.entries(STANDARD_EDL)) {
    const { ecalls, ocalls } = describeEdl(parse(text, withStandardEdl()));
    assert.ok(ecalls.length + ocalls.length > 0, file);
  }
});

const installed = join(process.env.SGX_SDK ?? '/opt/intel/sgxsdk', 'include');
const skip = existsSync(join(installed, 'sgx_tstdc.edl')) ? false : 'no SDK is installed';

test('the files say what those of an installed SDK say', { skip }, () => {
  const real: EdlResolver = (path) => {
    const file = join(installed, path);
    return existsSync(file)
      ? { file, text: readFileSync(file, 'utf8').replace(/^\s*#.*$/gm, '') }
      : undefined;
  };
  for (const [file, text] of Object.entries(STANDARD_EDL)) {
    const theirs = real(file, '');
    if (theirs === undefined) continue;
    const essence = (source: string, resolve: EdlResolver) => {
      const { trusted, untrusted } = parse(source, resolve);
      return JSON.stringify({ trusted, untrusted }, (key, value) => (key === 'span' ? undefined : value));
    };
    assert.equal(essence(text, withStandardEdl()), essence(theirs.text, real), file);
  }
});
