import {
  certificateEvidence,
  collateralFromFiles,
  looksLikeCertificate,
  parsePolicyText,
  type Verdict,
  verify,
  verifyCertificate,
} from '@nestedsgx/attest';
import { MAX_FILE_BYTES } from '@nestedsgx/verifier';
import type { Command } from 'commander';
import colors from '../colors.js';
import { bytesFromHex, readDirectory, readLimited } from '../files.js';
import { isServer, peerCertificate } from '../peer-certificate.js';
import type { ActionWrapper, CommandModule } from '../program.js';
import { Refused, type Terminal, UsageError } from '../terminal.js';
import { gather } from './collateral.js';

const EVIDENCE_LIMIT = 1 << 20;
const POLICY_LIMIT = 1 << 20;

interface VerifyOptions {
  policy?: string;
  collateral?: string;
  reportData?: string;
  time?: string;
  fetch?: boolean;
  kds?: string;
  pccs?: string;
}

export const verifyCommand: CommandModule = {
  name: 'verify',
  register(program: Command, act: ActionWrapper): void {
    program
      .command('verify')
      .description('appraise evidence against a policy; one line per check')
      .argument(
        '<evidence>',
        "this system's quote, a raw SNP report, a DCAP quote, a certificate with evidence, or tls://HOST:PORT of a server with one",
      )
      .option(
        '--policy <file>',
        'policy, JSON (without one, the strict defaults, which pin nothing and accept nothing)',
      )
      .option('--collateral <dir>', 'certificates and lists that the evidence does not carry')
      .option('--fetch', "fetch what the evidence lacks from AMD's or Intel's service (default: no network)")
      .option('--kds <url>', "with --fetch: ask this in place of AMD's service")
      .option('--pccs <url>', "with --fetch: ask this PCCS in place of Intel's service")
      .option('--report-data <hex>', 'the 64 bytes that the evidence must carry; fewer are padded with zeros')
      .option('--time <rfc3339>', 'the time to judge validity at (default: now)')
      .addHelpText(
        'after',
        '\nExamples:\n  $ nsgx verify quote.bin --policy policy.json --report-data 00ff\n  $ nsgx verify tls://localhost:8443 --policy policy.json',
      )
      .action(act(runVerify));
  },
};

async function runVerify(terminal: Terminal, path: string, options: VerifyOptions): Promise<void> {
  const given = isServer(path) ? await peerCertificate(path) : readLimited(path, EVIDENCE_LIMIT, 'evidence');
  const certificate = looksLikeCertificate(given);
  if (certificate && options.reportData !== undefined)
    throw new UsageError('--report-data is not for certificates: their evidence is for their key');
  const evidence = certificate ? quoteOf(given) : given;
  const policy = parsePolicyText(
    options.policy === undefined
      ? '{"version":1}'
      : new TextDecoder().decode(readLimited(options.policy, POLICY_LIMIT, 'policy')),
  );
  const common = {
    policy,
    collateral: await collateralOf(terminal, evidence, options),
    time: options.time === undefined ? undefined : parseTime(options.time),
  };
  const reportData = options.reportData === undefined ? undefined : padReportData(options.reportData);
  const verdict = await (certificate
    ? verifyCertificate(given, common)
    : verify(evidence, { ...common, reportData }));
  terminal.answer(verdict, verdictLines(terminal, verdict));
  if (verdict.verdict !== 'accepted') throw new Refused();
}

/** What collateral may be needed for; nothing when the certificate has no evidence, which the verdict then says. */
function quoteOf(certificate: Uint8Array): Uint8Array {
  try {
    return certificateEvidence(certificate).quote;
  } catch {
    return new Uint8Array(0);
  }
}

/** What `--collateral` and `--fetch` give; what is fetched is kept in the directory, if there is one. */
async function collateralOf(terminal: Terminal, evidence: Uint8Array, options: VerifyOptions) {
  const { collateral: directory, kds, pccs } = options;
  const time = options.time === undefined ? undefined : parseTime(options.time).getTime();
  if (options.fetch === true)
    return collateralFromFiles(await gather(terminal, evidence, { directory, kds, pccs, time }));
  if (kds !== undefined || pccs !== undefined)
    throw new UsageError('--kds and --pccs say where --fetch fetches from; add it');
  if (directory === undefined) return undefined;
  return collateralFromFiles(readDirectory(directory, MAX_FILE_BYTES, 'collateral'));
}

/** One aligned line per check, and the verdict. */
export function verdictLines(terminal: Terminal, verdict: Verdict): string[] {
  const rows = verdict.checks.map((check) => {
    if (check.status === 'ok') return [check.id, colors.green('ok'), check.detail];
    if (check.status === 'failed') return [check.id, colors.red('FAILED'), `because ${check.detail}`];
    return [check.id, colors.dim('skipped'), `because ${check.detail}`];
  });
  const colour = verdict.verdict === 'accepted' ? colors.green : colors.red;
  return [...terminal.table(rows), colour(verdict.verdict)];
}

/** Report data as 64 bytes: shorter values are padded with zeros, as REPORTDATA is by convention. */
export function padReportData(text: string): Uint8Array {
  const given = bytesFromHex(text, '--report-data');
  if (given.length > 64) throw new UsageError(`--report-data has ${given.length} bytes; a report carries 64`);
  const bytes = new Uint8Array(64);
  bytes.set(given);
  return bytes;
}

function parseTime(text: string): Date {
  const time = new Date(text);
  if (!/^\d{4}-\d\d-\d\dT/.test(text) || Number.isNaN(time.getTime()))
    throw new UsageError(`--time must look like 2026-01-31T12:00:00Z, not "${text}"`);
  return time;
}
