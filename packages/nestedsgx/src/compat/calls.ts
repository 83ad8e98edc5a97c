/** One loaded enclave and its calls, loaded afresh after a crash. */
import { isDeepStrictEqual } from 'node:util';
import { ATTRIBUTES_DEBUG, ATTRIBUTES_PROVISIONKEY, SIGSTRUCT } from '@nestedsgx/arch';
import type { CallDescription, EdlDescription } from '@nestedsgx/edl';
import { loadSignedSoFile } from '@nestedsgx/image/node';
import type { Cvm, IntelEnclave } from '@nestedsgx/sdk';
import { answerFromJson, argumentsFromJson, printed, resultToJson, zeroAnswer } from '../edl-json/calls.js';
import { failureOf } from './failure.js';
import type { Plan, PlannedCall } from './plan.js';
import type { CallOutcome } from './report.js';

/** Printed text that is kept of one call. */
const MAX_PRINTED = 64 * 1024;

/** What is tried. */
export interface Subject {
  readonly path: string;
  readonly root: string;
  readonly plan: Plan;
  readonly edl: EdlDescription | undefined;
  readonly files: string | undefined;
}

/** The enclave as its plan wants it. */
export class EnclaveCalls {
  readonly #cvm: Cvm;
  readonly #subject: Subject;
  readonly #answeredWithZeros: (name: string) => void;
  readonly #results = new Map<string, unknown>();
  #enclave: IntelEnclave | null = null;
  #printed = '';

  constructor(cvm: Cvm, subject: Subject, answeredWithZeros: (name: string) => void) {
    this.#cvm = cvm;
    this.#subject = subject;
    this.#answeredWithZeros = answeredWithZeros;
  }

  /** Loads the enclave. @throws what `Cvm.load` throws */
  async load(): Promise<void> {
    const { path, plan, edl, files } = this.#subject;
    const { sigstruct, attributes } = loadSignedSoFile(path);
    const signed = SIGSTRUCT.decode(sigstruct);
    const forDebug = signed.ATTRIBUTES.FLAGS & signed.ATTRIBUTEMASK.FLAGS & ATTRIBUTES_DEBUG;
    this.#enclave = await this.#cvm.load(path as `${string}.signed.so`, {
      edl,
      files,
      debug: plan.debug ?? forDebug !== 0n,
      provision: plan.provision ?? (attributes.FLAGS & ATTRIBUTES_PROVISIONKEY) !== 0n,
      ocalls: this.#told(),
      otherOcalls: (ocall, args) => this.#answer(ocall, args),
      onOcallError: () => undefined,
    });
  }

  async close(): Promise<void> {
    await this.#enclave?.close();
    this.#enclave = null;
  }

  /** Makes a call; nothing is thrown that the enclave or its plan causes. */
  async call(planned: PlannedCall): Promise<CallOutcome> {
    const { name, id, expect, threads } = planned;
    const told = this.#subject.plan.calls !== undefined;
    const start = performance.now();
    this.#printed = '';
    const end = (rest: Omit<CallOutcome, 'name' | 'told' | 'milliseconds'>): CallOutcome => ({
      name,
      told,
      milliseconds: performance.now() - start,
      ...(this.#printed === '' ? {} : { printed: this.#printed }),
      ...rest,
    });
    try {
      if (this.#enclave === null) await this.load();
      const enclave = this.#enclave!;
      const call = this.#subject.edl?.ecalls.find((candidate) => candidate.name === name);
      if (call === undefined) throw new RangeError(`the EDL file has no ECALL ${name}`);
      const once = async () => {
        const json = planned.args.map((arg) => this.#resolved(arg));
        return resultToJson(call, await enclave.async[name]!(...argumentsFromJson(call, json, enclave)));
      };
      const all = await Promise.all(Array.from({ length: threads }, once));
      const [result] = all as [{ result: unknown; out?: unknown }];
      this.#results.set(id ?? name, result);
      if (expect?.error !== undefined)
        return end({ outcome: 'unexpected', ...result, expected: `error ${expect.error}` });
      const missing = all.map((one) => this.#missing(planned, one)).find((text) => text !== undefined);
      return missing === undefined
        ? end({ outcome: 'returned', ...result })
        : end({ outcome: 'unexpected', ...result, expected: missing });
    } catch (error) {
      const failure = failureOf(error, this.#subject.root);
      // Whatever state the enclave is in now, the next call shall not suffer from it.
      if (/^(ENCLAVE_|CVM_|GUEST_)/.test(failure.code) || failure.status === 'SGX_ERROR_ENCLAVE_CRASHED')
        await this.close();
      const wanted = expect?.error !== undefined && [failure.code, failure.status].includes(expect.error);
      return end({ outcome: wanted ? 'returned' : 'failed', failure });
    }
  }

  /** Handlers of the OCALLs that the plan answers, also in place of those that the SDK answers itself. */
  #told(): Record<string, (...args: unknown[]) => unknown> {
    const { plan, edl } = this.#subject;
    const told = (edl?.ocalls ?? []).filter(({ name }) => Object.hasOwn(plan.ocalls, name));
    return Object.fromEntries(told.map((ocall) => [ocall.name, (...args) => this.#answer(ocall, args)]));
  }

  #missing({ expect }: PlannedCall, { result, out }: { result: unknown; out?: unknown }): string | undefined {
    if (expect === undefined) return undefined;
    if (expect.result !== undefined && !isDeepStrictEqual(expect.result, result))
      return `result ${JSON.stringify(expect.result)}`;
    for (const [name, value] of Object.entries(expect.out ?? {}))
      if (!isDeepStrictEqual(value, (out as Record<string, unknown> | undefined)?.[name]))
        return `${name} ${JSON.stringify(value)}`;
    if (expect.prints !== undefined && !this.#printed.includes(expect.prints))
      return `output with ${JSON.stringify(expect.prints)}`;
    return undefined;
  }

  /** An argument with what earlier calls gave in place of `{"from": "ID.PATH"}`. */
  #resolved(json: unknown): unknown {
    if (Array.isArray(json)) return json.map((item) => this.#resolved(item));
    if (typeof json !== 'object' || json === null) return json;
    const keys = Object.keys(json);
    const { from } = json as { from?: unknown };
    if (keys.length !== 1 || typeof from !== 'string')
      return Object.fromEntries(Object.entries(json).map(([key, item]) => [key, this.#resolved(item)]));
    const [id, ...path] = from.split('.');
    let at = this.#results.get(id!);
    for (const key of path) at = (at as Record<string, unknown> | null | undefined)?.[key];
    if (at === undefined) throw new RangeError(`no earlier call gave ${from}`);
    return at;
  }

  #answer(ocall: CallDescription, args: readonly unknown[]): unknown {
    const text = printed(ocall, args);
    if (text !== undefined) this.#printed = (this.#printed + text).slice(0, MAX_PRINTED);
    const { ocalls } = this.#subject.plan;
    if (Object.hasOwn(ocalls, ocall.name)) return answerFromJson(ocall, ocalls[ocall.name]);
    if (text === undefined && (ocall.returns !== undefined || ocall.parameters.length > 0))
      this.#answeredWithZeros(ocall.name);
    return zeroAnswer(ocall);
  }
}
