import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildEnclave, type EnclaveDescription, sampleDirectory, signOptionsOf } from '@nestedsgx/enclave';
import { generateKey, imageFilePaths, loadImageFiles, signImage } from '@nestedsgx/image/node';
import type { Cvm } from '@nestedsgx/sdk';
import type { Tour } from '../tour.js';

/** The sample, built once and signed by two different keys. */
export interface TourImages {
  path: string;
  /** The same enclave signed by somebody else. */
  otherSigner: string;
  mrenclave: string;
}

/** Milliseconds since `started`, for people. */
export function since(started: number): string {
  return `${(performance.now() - started).toFixed(0)} ms`;
}

/** Builds the sample enclave and signs it with two fresh keys. */
export async function buildAndSign(tour: Tour): Promise<TourImages> {
  tour.begin('Build and sign an enclave');
  const started = performance.now();
  const out = join(tour.folder, 'enclave');
  const built = await buildEnclave({ dir: sampleDirectory('calc'), out });
  tour.record(
    'the sample calc, C compiled by gcc',
    `${built.pages} pages, ${built.threads} threads, ${since(started)}`,
  );
  tour.record('MRENCLAVE', built.mrenclave);
  const { signing } = JSON.parse(readFileSync(built.jsonPath, 'utf8')) as EnclaveDescription;
  const image = loadImageFiles({ sgxs: built.sgxsPath });
  const sign = async (path: string) => {
    const { privateKeyPem } = await generateKey();
    writeFileSync(path, signImage(image, privateKeyPem, signOptionsOf(signing)));
  };
  await sign(imageFilePaths(built.sgxsPath).sig);
  const otherSigner = join(tour.folder, 'other-signer.sig');
  await sign(otherSigner);
  tour.record('signed with RSA-3072, e = 3', imageFilePaths(built.sgxsPath).sig);
  return { path: built.sgxsPath, otherSigner, mrenclave: built.mrenclave };
}

/** Loads the sample; its OCALL `host_name` is answered with `host`. */
export function loadCalc(cvm: Cvm, images: TourImages, sig?: string) {
  const paths = imageFilePaths(images.path);
  const image = loadImageFiles({ ...paths, sig: sig ?? paths.sig });
  return cvm.load(image, { ocalls: { host_name: () => 'the untrusted host' } });
}

/** The sample as loaded by {@link loadCalc}. */
export type Calc = Awaited<ReturnType<typeof loadCalc>>;

/** Loads the sample and calls it. */
export async function callEnclave(tour: Tour, cvm: Cvm, images: TourImages): Promise<Calc> {
  tour.begin('Load it and call it');
  const started = performance.now();
  const calc = await loadCalc(cvm, images);
  const mrenclave = Buffer.from(calc.mrenclave).toString('hex');
  tour.record(
    'ECREATE, EADD, EEXTEND, EINIT',
    `${since(started)}, MRENCLAVE as signed`,
    mrenclave === images.mrenclave,
  );
  const sum = calc.ecalls.add(2, 3);
  tour.record('add(2, 3), computed inside', String(sum), sum === 5);
  const text = calc.ecalls.concat('confidential ', 'computing');
  tour.record("concat('confidential ', 'computing')", String(text), text === 'confidential computing');
  const greeting = String(calc.ecalls.greet());
  tour.record(
    'greet(), which asks the host for its name by an OCALL',
    greeting,
    greeting.includes('untrusted host'),
  );
  const both = await Promise.all([calc.async.add(1, 1), calc.async.add(20, 22)]);
  tour.record('two asynchronous calls at once', both.join(' and '), both.join() === '2,42');
  return calc;
}
