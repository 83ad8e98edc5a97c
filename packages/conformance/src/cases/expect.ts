/** Assertions on results of the probe. */
import assert from 'node:assert/strict';
import { SGX_ERROR, sgxErrorName, VECTOR } from '@nestedsgx/arch';
import { type Result, ZF } from '../probe/probe.js';

const VECTOR_NAMES = new Map(Object.entries(VECTOR).map(([name, number]) => [number as number, `#${name}`]));

function text(result: Result): string {
  if (result.kind === 'fault') return VECTOR_NAMES.get(result.vector) ?? `vector ${result.vector}`;
  return `RAX = ${result.rax}`;
}

/** The operation completed. */
export function done(result: Result): Extract<Result, { kind: 'done' }> {
  if (result.kind !== 'done') assert.fail(`expected completion, got ${text(result)}`);
  return result;
}

/** The leaf completed with RAX = 0 and ZF clear. */
export function succeeded(result: Result): void {
  const { rax, rflags } = done(result);
  assert.equal(rax, 0n, `expected RAX = 0, got ${sgxErrorName(Number(rax))}`);
  assert.equal(rflags & ZF, 0n, 'ZF is set though RAX is 0');
}

/** The leaf returned this code in RAX, with ZF set. */
export function returned(result: Result, code: keyof typeof SGX_ERROR): void {
  const { rax, rflags } = done(result);
  assert.equal(
    sgxErrorName(Number(rax)),
    code,
    `expected ${code}, got ${sgxErrorName(Number(rax))} (${rax})`,
  );
  assert.equal(Number(rax), SGX_ERROR[code]);
  assert.notEqual(rflags & ZF, 0n, `ZF is clear though RAX is ${code}`);
}

/** The operation raised this exception. */
export function raised(result: Result, vector: number, page?: number): void {
  assert.equal(result.kind, 'fault', `expected ${VECTOR_NAMES.get(vector)}, got ${text(result)}`);
  if (result.kind !== 'fault') return;
  assert.equal(result.vector, vector, `expected ${VECTOR_NAMES.get(vector)}, got ${text(result)}`);
  if (page !== undefined)
    assert.equal(result.address - (result.address % 4096), page - (page % 4096), 'another address faulted');
}

/** #GP(0). */
export const gp = (result: Result): void => raised(result, VECTOR.GP);
/** #PF, at the page of `address` when given. */
export const pf = (result: Result, address?: number): void => raised(result, VECTOR.PF, address);
/** #UD. */
export const ud = (result: Result): void => raised(result, VECTOR.UD);

/** The action fails with this errno of the driver. */
export function refuses(errno: string, action: () => void): void {
  assert.throws(action, (error: unknown) => {
    assert.equal(
      (error as { errno?: string }).errno,
      errno,
      `expected ${errno}: ${(error as Error).message}`,
    );
    return true;
  });
}
