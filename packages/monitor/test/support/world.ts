/** A monitor state over the fakes, with operands at fixed places of guest RAM and short names for the leaves. */
import { type KeyObject, sign } from 'node:crypto';
import {
  EnclaveMeasurement,
  SECS,
  type Secs,
  type SigstructFields,
  type StructInit,
  signSigstruct,
  TCS,
  type Tcs,
  writeU64,
} from '@nestedsgx/arch';
import { freshKey } from '@nestedsgx/arch/fresh-key';
import { nodeHash } from '@nestedsgx/arch/node';
import { eadd } from '../../src/encls/eadd.js';
import { ecreate } from '../../src/encls/ecreate.js';
import { eextend } from '../../src/encls/eextend.js';
import { einit } from '../../src/encls/einit.js';
import { eremove } from '../../src/encls/eremove.js';
import {
  type EnclaveRecord,
  type FrameOwner,
  KeyHierarchy,
  type LeafOutcome,
  type MonitorState,
  newState,
  type PageCipher,
  type Platform,
} from '../../src/index.js';
import { DEFAULT_PLATFORM } from '../../src/state/platform.js';
import { EPC_BASE, FakeMachine, FakeProcessor, type FakeRunning } from './fake-machine.js';

export const AT = Object.freeze({
  PAGEINFO: 0x2000,
  SECINFO: 0x2040,
  ARGS: 0x2100,
  SECS: 0x3000,
  PAGE: 0x4000,
  SIGSTRUCT: 0x5000,
  TOKEN: 0x6000,
  OUT: 0x8000,
  GATES: 0xc000,
});
export const BASE = 0x2000_0000;
export const SIZE = 0x10_0000;
export const REG_RW = 0x203;
export const REG_R = 0x201;
export const REG_RX = 0x205;
export const TCS_FLAGS = 0x100;
export const gpaOf = (frame: number): number => EPC_BASE + frame * 4096;

export const GOOD_SECS: StructInit<Secs> = {
  SIZE: BigInt(SIZE),
  BASEADDR: BigInt(BASE),
  SSAFRAMESIZE: 1,
  ATTRIBUTES: { FLAGS: 4n, XFRM: 3n },
};

export class World {
  readonly machine: FakeMachine;
  readonly processor = new FakeProcessor();
  readonly s: MonitorState;
  readonly owner: FrameOwner = { id: 1, first: 0, count: 48 };
  readonly other: FrameOwner = { id: 2, first: 48, count: 16 };

  constructor(platform: Partial<Platform> = {}, pageCipher?: PageCipher) {
    this.machine = new FakeMachine(64);
    this.machine.memory.ramBytes = this.machine.ram.length;
    this.s = newState({
      platform: { ...DEFAULT_PLATFORM, ...platform },
      machine: this.machine,
      processor: this.processor,
      hashing: { hash: nodeHash, measurement: () => new EnclaveMeasurement(nodeHash) },
      keys: KeyHierarchy.fromSealSecret(new Uint8Array(32).fill(7)),
      ...(pageCipher === undefined ? {} : { pageCipher }),
    });
  }

  pageinfo(linaddr: number, src: number, secinfo: number, secs: number, at: number = AT.PAGEINFO): void {
    [linaddr, src, secinfo, secs].forEach((v, i) => {
      writeU64(this.machine.ram, at + i * 8, BigInt(v));
    });
  }

  secinfo(flags: number): void {
    this.machine.ram.fill(0, AT.SECINFO, AT.SECINFO + 64);
    writeU64(this.machine.ram, AT.SECINFO, BigInt(flags));
  }

  /** ECREATE into frame 0 (or another) with these SECS fields. */
  create(secs: StructInit<Secs> = GOOD_SECS, frame = 0, owner = this.owner): LeafOutcome {
    SECS.encodeInto(secs, this.machine.ram, AT.SECS);
    this.secinfo(0);
    this.pageinfo(0, AT.SECS, AT.SECINFO, 0);
    return ecreate(this.s, owner, AT.PAGEINFO, gpaOf(frame));
  }

  /** EADD of a page of `fill` bytes (or the given page) into `frame`. */
  add(
    frame: number,
    linaddr: number,
    flags = REG_RW,
    page: number | Uint8Array = frame,
    secs = 0,
  ): LeafOutcome {
    if (typeof page === 'number') this.machine.ram.fill(page, AT.PAGE, AT.PAGE + 4096);
    else this.machine.ram.set(page, AT.PAGE);
    this.secinfo(flags);
    this.pageinfo(linaddr, AT.PAGE, AT.SECINFO, gpaOf(secs));
    return eadd(this.s, this.owner, AT.PAGEINFO, gpaOf(frame));
  }

  extend(frame: number, chunk = 0, secs = 0): LeafOutcome {
    return eextend(this.s, this.owner, gpaOf(secs), gpaOf(frame) + chunk * 256);
  }

  remove(frame: number, owner = this.owner): LeafOutcome {
    return eremove(this.s, owner, 0, gpaOf(frame));
  }

  enclave(secs = 0): EnclaveRecord {
    return this.s.enclaves.get(secs)!;
  }

  /** TCS at page 1 with SSA at pages 2 and 3, data at page 4 (RW), 5 (R), 6 (RX). Frames 1…6. */
  build(secs: StructInit<Secs> = GOOD_SECS, tcs: StructInit<Tcs> = {}): EnclaveRecord {
    must(this.create(secs));
    must(this.add(1, BASE + 0x1000, TCS_FLAGS, tcsPage(tcs)));
    for (const frame of [2, 3, 4]) must(this.add(frame, BASE + frame * 4096, REG_RW, 0));
    must(this.add(5, BASE + 0x5000, REG_R, 0));
    must(this.add(6, BASE + 0x6000, REG_RX, 0));
    const enclave = this.enclave();
    enclave.gates = { gpa: AT.GATES, count: 1 };
    return enclave;
  }

  /** A SIGSTRUCT that fits enclave `secs`, with changes. */
  sign(fields: SigstructFields = {}, secs = 0): Uint8Array {
    const enclave = this.enclave(secs);
    return signSigstruct(
      {
        ENCLAVEHASH: enclave.measurement.digest(),
        ATTRIBUTES: { FLAGS: enclave.flags, XFRM: enclave.xfrm },
        ATTRIBUTEMASK: { FLAGS: 0xffff_ffff_ffff_ffffn, XFRM: 0xffff_ffff_ffff_ffffn },
        MISCSELECT: enclave.miscselect,
        MISCMASK: 0xffff_ffff,
        ISVPRODID: 5,
        ISVSVN: 3,
        ...fields,
      },
      signer(),
    );
  }

  init(sigstruct: Uint8Array = this.sign(), token?: Uint8Array, secs = 0): LeafOutcome {
    this.machine.ram.set(sigstruct, AT.SIGSTRUCT);
    this.machine.ram.fill(0, AT.TOKEN, AT.TOKEN + 512);
    if (token !== undefined) this.machine.ram.set(token, AT.TOKEN);
    return einit(this.s, this.owner, AT.SIGSTRUCT, gpaOf(secs), AT.TOKEN);
  }

  /** An initialized enclave and its fake execution. */
  running(
    secs: StructInit<Secs> = GOOD_SECS,
    sig: SigstructFields = {},
  ): { enclave: EnclaveRecord; running: FakeRunning } {
    const enclave = this.build(secs);
    must(this.init(this.sign(sig)));
    return { enclave, running: this.processor.running.at(-1)! };
  }
}

/** A TCS page: one thread with two SSA frames. */
export function tcsPage(fields: StructInit<Tcs> = {}): Uint8Array {
  return TCS.encode({
    OSSA: 0x2000n,
    NSSA: 2,
    OENTRY: 0x6000n,
    OFSBASE: 0x4000n,
    OGSBASE: 0x4000n,
    FSLIMIT: 0xfff,
    GSLIMIT: 0xfff,
    ...fields,
  });
}

export function must(outcome: LeafOutcome): void {
  if (outcome.kind !== 'done') throw new Error(`refused: ${tripped(outcome)}`);
}

/** `LEAF.check-id` of a refusal, or `done`. */
export function tripped(outcome: LeafOutcome): string {
  return outcome.list === null ? outcome.kind : `${outcome.list.leaf}.${outcome.list.rows[outcome.check].id}`;
}

let key: { modulus: bigint; privateKey: KeyObject } | undefined;

/** An RSA-3072 key with exponent 3, made once for each test process. */
export function signer(): { modulus: bigint; sign(data: Uint8Array): Uint8Array } {
  if (key === undefined) {
    const privateKey = freshKey({ rsaBits: 3072, exponent: 3 });
    const n = privateKey.export({ format: 'jwk' }).n!;
    key = { modulus: BigInt(`0x${Buffer.from(n, 'base64url').toString('hex')}`), privateKey };
  }
  const { modulus, privateKey } = key;
  return { modulus, sign: (data) => new Uint8Array(sign('sha256', data, privateKey)) };
}
