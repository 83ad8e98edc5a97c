/** Errors as a report tells them: without what differs from run to run or belongs to one machine. */
import { NsgxError } from '@nestedsgx/arch';
import { SgxStatusError, sgxStatus, statusOfLoadError } from '@nestedsgx/sdk';
import type { Failure } from './report.js';

const MAX_CAUSES = 4;
const MAX_TEXT = 400;

/** An error with its causes. `root` is cut from paths. */
export function failureOf(error: unknown, root: string): Failure {
  const said: string[] = [];
  for (let at: unknown = error; at instanceof Error && said.length < MAX_CAUSES; at = at.cause)
    if (!said.some((text) => text.includes((at as Error).message))) said.push(at.message);
  const status = error instanceof SgxStatusError ? error.status : statusOfLoadError(error);
  return {
    code: error instanceof NsgxError ? error.code : error instanceof Error ? error.name : 'Error',
    status: status === undefined ? null : sgxStatus(status).name,
    message: tidy(said.length === 0 ? String(error) : said.join('; because '), root),
  };
}

/** Text on one line, without paths of this machine and addresses that change with every run. */
export function tidy(text: string, root: string): string {
  return text
    .replaceAll(`${root}/`, '')
    .replaceAll(root, '.')
    .replace(/0x[0-9a-f]{8,16}/gi, '0x…')
    .replace(/\s+/g, ' ')
    .slice(0, MAX_TEXT);
}
