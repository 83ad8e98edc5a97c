/** SNP_LAUNCH_START, _UPDATE and _FINISH (SEV-SNP Firmware ABI): the context of one guest. */
import { createHash, randomBytes } from 'node:crypto';
import {
  ID_BLOCK,
  type IdBlock,
  LaunchDigest,
  SECRETS_PAGE,
  SNP_PAGE_TYPE,
  SNP_POLICY,
} from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import { PspCommandError } from './command-error.js';
import { verifyIdAuth } from './id-block.js';
import { PSP_STATUS } from './status.js';

/** Firmware ABI version of this PSP: major, minor, build. */
export const FIRMWARE = Object.freeze({ major: 1, minor: 55, build: 21 });

const KNOWN_POLICY =
  0xffffn |
  SNP_POLICY.SMT |
  SNP_POLICY.RESERVED_MUST_BE_ONE |
  SNP_POLICY.MIGRATE_MA |
  SNP_POLICY.DEBUG |
  SNP_POLICY.SINGLE_SOCKET |
  SNP_POLICY.CXL_ALLOW;

/** Operands of SNP_LAUNCH_FINISH. */
export interface LaunchFinish {
  /** ID_BLOCK, 96 bytes. */
  idBlock?: Uint8Array;
  /** ID_AUTH, 4096 bytes; needed with an ID block. */
  idAuth?: Uint8Array;
  /** HOST_DATA, 32 bytes. */
  hostData?: Uint8Array;
}

/** What the firmware knows of a guest. All byte strings are its own copies. */
export class GuestContext {
  readonly policy: bigint;
  readonly reportId = new Uint8Array(randomBytes(32));
  /** VM root key: random, since there is no migration agent to set it. */
  readonly vmrk = new Uint8Array(randomBytes(32));
  readonly vmpck: readonly Uint8Array[] = [0, 1, 2, 3].map(() => new Uint8Array(randomBytes(32)));
  /** Next sequence number per VMPCK: the count of messages so far, both ways. */
  readonly messageCount: bigint[] = [0n, 0n, 0n, 0n];
  readonly #digest = new LaunchDigest(nodeHash);
  #running = false;
  #hostData = new Uint8Array(32);
  #idBlock: IdBlock | undefined;
  #idKeyDigest = new Uint8Array(48);
  #authorKeyDigest: Uint8Array | undefined;

  /** SNP_LAUNCH_START. Throws PSP_COMMAND: POLICY_FAILURE, UNSUPPORTED, INVALID_PARAM. */
  constructor(policy: bigint) {
    checkPolicy(policy);
    this.policy = policy;
  }

  get running(): boolean {
    return this.#running;
  }
  get measurement(): Uint8Array {
    return this.#digest.digest;
  }
  get hostData(): Uint8Array {
    return this.#hostData;
  }
  get idBlock(): IdBlock | undefined {
    return this.#idBlock;
  }
  get idKeyDigest(): Uint8Array {
    return this.#idKeyDigest;
  }
  get authorKeyDigest(): Uint8Array | undefined {
    return this.#authorKeyDigest;
  }
  get guestSvn(): number {
    return this.#idBlock?.GUEST_SVN ?? 0;
  }

  /** SNP_LAUNCH_UPDATE of one page. Throws PSP_COMMAND INVALID_GUEST_STATE, SNP_LAUNCH_PAGE. */
  update(pageType: number, gpa: number | bigint, contents: Uint8Array | null): void {
    this.#mustLaunch('SNP_LAUNCH_UPDATE');
    this.#digest.update(pageType, BigInt(gpa), contents);
  }

  /** As `update` for a NORMAL or VMSA page whose SHA-384 is known. */
  updateHashed(pageType: number, gpa: number | bigint, sha384: Uint8Array): void {
    this.#mustLaunch('SNP_LAUNCH_UPDATE');
    this.#digest.updateHashed(pageType, BigInt(gpa), sha384);
  }

  /** SNP_LAUNCH_FINISH. Throws PSP_COMMAND: INVALID_GUEST_STATE, INVALID_PARAM, BAD_MEASUREMENT, BAD_SIGNATURE, POLICY_FAILURE. */
  finish(finish: LaunchFinish): Uint8Array {
    const command = 'SNP_LAUNCH_FINISH';
    this.#mustLaunch(command);
    const { hostData, idBlock, idAuth } = finish;
    if (hostData !== undefined && hostData.length !== 32) {
      throw new PspCommandError(command, PSP_STATUS.INVALID_PARAM, 'HOST_DATA has not 32 bytes');
    }
    if (idBlock !== undefined) this.#acceptIdBlock(command, idBlock, idAuth);
    this.#hostData = Uint8Array.from(hostData ?? new Uint8Array(32));
    this.#running = true;
    return this.measurement;
  }

  #acceptIdBlock(command: string, idBlock: Uint8Array, idAuth: Uint8Array | undefined): void {
    if (idBlock.length !== ID_BLOCK.size || idAuth === undefined) {
      throw new PspCommandError(
        command,
        PSP_STATUS.INVALID_PARAM,
        'the ID block or its authentication is missing',
      );
    }
    const block = ID_BLOCK.decode(idBlock);
    if (block.VERSION !== 1) throw new PspCommandError(command, PSP_STATUS.INVALID_PARAM, 'ID block version');
    const keys = verifyIdAuth(command, idBlock, idAuth);
    if (!Buffer.from(block.LD).equals(this.measurement)) {
      throw new PspCommandError(
        command,
        PSP_STATUS.BAD_MEASUREMENT,
        'the ID block names another launch digest',
      );
    }
    if (block.POLICY !== this.policy) {
      throw new PspCommandError(command, PSP_STATUS.POLICY_FAILURE, 'the ID block names another policy');
    }
    this.#idBlock = block;
    this.#idKeyDigest = sha384(keys.idKey);
    this.#authorKeyDigest = keys.authorKey === undefined ? undefined : sha384(keys.authorKey);
  }

  /** The secrets page (4096 bytes) for the guest: its VMPCKs. */
  secretsPage(): Uint8Array {
    const [VMPCK0, VMPCK1, VMPCK2, VMPCK3] = this.vmpck;
    return SECRETS_PAGE.encode({ VERSION: 3, VMPCK0, VMPCK1, VMPCK2, VMPCK3, FMS: 0x00a0_0f11 });
  }

  #mustLaunch(command: string): void {
    if (this.#running)
      throw new PspCommandError(command, PSP_STATUS.INVALID_GUEST_STATE, 'the guest runs already');
  }
}

/** Page types of SNP_LAUNCH_UPDATE. */
export { SNP_PAGE_TYPE };

function checkPolicy(policy: bigint): void {
  const command = 'SNP_LAUNCH_START';
  if ((policy & ~KNOWN_POLICY) !== 0n) {
    throw new PspCommandError(
      command,
      PSP_STATUS.UNSUPPORTED,
      `policy 0x${policy.toString(16)} has unknown bits`,
    );
  }
  if ((policy & SNP_POLICY.RESERVED_MUST_BE_ONE) === 0n) {
    throw new PspCommandError(command, PSP_STATUS.INVALID_PARAM, 'bit 17 of the policy must be one');
  }
  const major = Number((policy >> 8n) & 0xffn);
  const minor = Number(policy & 0xffn);
  if (major > FIRMWARE.major || (major === FIRMWARE.major && minor > FIRMWARE.minor)) {
    throw new PspCommandError(command, PSP_STATUS.POLICY_FAILURE, `the policy wants ABI ${major}.${minor}`);
  }
  if ((policy & SNP_POLICY.MIGRATE_MA) !== 0n) {
    throw new PspCommandError(command, PSP_STATUS.POLICY_FAILURE, 'there is no migration agent');
  }
}

function sha384(b: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(createHash('sha384').update(b).digest());
}
