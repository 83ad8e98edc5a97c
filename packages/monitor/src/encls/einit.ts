/** ENCLS[EINIT]. Source: Intel SDM Vol. 3D, "EINIT—Initialize an Enclave for Execution", Operation. */
import {
  checkSigstructFields,
  EINITTOKEN,
  KEYNAME_EINITTOKEN,
  mrsigner,
  PT_SECS,
  readU16,
  readU32,
  SECS,
  SIGSTRUCT,
  type Sigstruct,
  SigstructError,
  verifySigstruct,
} from '@nestedsgx/arch';
import { cmac, tagsEqual, wipe } from '../keys/cmac.js';
import { launchKeyData } from '../keys/derivation.js';
import { checkList, DONE, type LeafOutcome, PF_ACCESS, trip } from '../leaf/checks.js';
import { attempt } from '../state/available.js';
import type { EnclaveRecord } from '../state/enclave.js';
import { processorStart } from '../state/enclave-life.js';
import { FOREIGN, NOT_EPC } from '../state/frames.js';
import { cpuSvnWithin } from '../state/platform.js';
import { allZero, type FrameOwner, guestWritable, type MonitorState, readGuest } from '../state/state.js';
import { admitThreads, threadCount } from '../state/threads.js';

/** EINIT's checks, in the manual's order. */
export const EINIT_CHECKS = checkList('EINIT', [
  ['sigstruct-secs-aligned', '#GP(0)', 'SIGSTRUCT (RBX) and SECS (RCX) are 4096-byte aligned'],
  ['token-aligned', '#GP(0)', 'EINITTOKEN (RDX) is 512-byte aligned'],
  ['secs-in-epc', '#PF', 'RCX resolves within the EPC'],
  ['secs-owned', 'REFUSED', 'the SECS belongs to the caller', 'deviation'],
  ['sigstruct-readable', '#PF', 'SIGSTRUCT can be read'],
  ['token-readable', '#PF', 'EINITTOKEN can be read'],
  [
    'sigstruct-fields',
    'SGX_INVALID_SIG_STRUCT',
    'HEADER, VENDOR, HEADER2, EXPONENT and reserved fields are right',
  ],
  ['signature', 'SGX_INVALID_SIGNATURE', 'the RSA signature, Q1 and Q2 verify'],
  ['secs-valid', '#PF', 'EPCM(RCX) is valid and PT_SECS'],
  ['family-needs-kss', 'SGX_INVALID_SIG_STRUCT', 'ISVFAMILYID is 0 without ATTRIBUTES.KSS'],
  ['not-initialized', '#GP(0)', 'the enclave is not initialized'],
  ['measurement', 'SGX_INVALID_MEASUREMENT', 'SIGSTRUCT.ENCLAVEHASH = MRENCLAVE'],
  [
    'controlled-attributes',
    'SGX_INVALID_ATTRIBUTE',
    'EINITTOKEN_KEY only for the signer in IA32_SGXLEPUBKEYHASH',
  ],
  ['attributes', 'SGX_INVALID_ATTRIBUTE', 'ATTRIBUTES equal SIGSTRUCT.ATTRIBUTES under ATTRIBUTEMASK'],
  ['miscselect', 'SGX_INVALID_ATTRIBUTE', 'MISCSELECT equals SIGSTRUCT.MISCSELECT under MISCMASK'],
  ['launch-signer', 'SGX_INVALID_EINITTOKEN', 'without token: the signer is the one in IA32_SGXLEPUBKEYHASH'],
  ['token-debug', 'SGX_INVALID_EINITTOKEN', 'a debug launch enclave launches debug enclaves only'],
  ['token-reserved', 'SGX_INVALID_EINITTOKEN', 'reserved fields of EINITTOKEN are 0'],
  ['token-cpusvn', 'SGX_INVALID_CPUSVN', 'CPUSVNLE is not beyond the CPU'],
  ['token-mac', 'SGX_INVALID_EINITTOKEN', 'the MAC of EINITTOKEN verifies under the launch key'],
  ['token-identity', 'SGX_INVALID_MEASUREMENT', 'EINITTOKEN names this MRENCLAVE and MRSIGNER'],
  ['token-attributes', 'SGX_INVALID_ATTRIBUTE', 'EINITTOKEN.ATTRIBUTES are those of the enclave'],
  [
    'provision-authorized',
    'SGX_INVALID_ATTRIBUTE',
    'PROVISIONKEY was authorized for this enclave (AUTHORIZE_PROVISION)',
    'deviation',
  ],
  ['gates-bound', 'REFUSED', 'there is a gate page for every TCS, in memory of VMPL1', 'deviation'],
  ['processor-started', 'REFUSED', 'the processor of the enclave started', 'deviation'],
] as const);

const T = EINITTOKEN.offsets;
const S = SECS.offsets;
const DEBUG = 2;

/** RBX = SIGSTRUCT, RCX = SECS, RDX = EINITTOKEN. */
export function einit(
  s: MonitorState,
  owner: FrameOwner,
  rbx: number,
  rcx: number,
  rdx: number,
): LeafOutcome {
  const C = EINIT_CHECKS;
  if (rbx % 4096 !== 0 || rcx % 4096 !== 0) return trip(C, 'sigstruct-secs-aligned');
  if (rdx % 512 !== 0) return trip(C, 'token-aligned');
  const frame = s.frames.resolve(owner, rcx);
  if (frame === NOT_EPC) return trip(C, 'secs-in-epc', rcx, PF_ACCESS);
  if (frame === FOREIGN) return trip(C, 'secs-owned');
  const sigBytes = readGuest(s, rbx, SIGSTRUCT.size);
  if (sigBytes === null) return trip(C, 'sigstruct-readable', rbx, PF_ACCESS);
  const token = readGuest(s, rdx, EINITTOKEN.size);
  if (token === null) return trip(C, 'token-readable', rdx, PF_ACCESS);
  const badSigstruct = verify(s, sigBytes);
  if (badSigstruct !== null) return badSigstruct;
  const sig = SIGSTRUCT.decode(sigBytes);
  if (!s.epcm.valid(frame) || s.epcm.type(frame) !== PT_SECS) return trip(C, 'secs-valid', rcx);
  const enclave = s.enclaves.get(frame)!;
  if (!allZero(sig.ISVFAMILYID) && !enclave.kss) return trip(C, 'family-needs-kss');
  if (enclave.initialized) return trip(C, 'not-initialized');
  const mrenclave = enclave.measurement.digest();
  if (!tagsEqual(mrenclave, sig.ENCLAVEHASH)) return trip(C, 'measurement');
  const signer = mrsigner(s.hashing.hash, sig.MODULUS);
  const refused =
    checkAttributes(s, enclave, sig, signer) ??
    checkLaunch(s, enclave, token, mrenclave, signer) ??
    checkPlatform(s, enclave);
  if (refused !== null) return refused;
  return commit(s, enclave, sig, mrenclave, signer);
}

function verify(s: MonitorState, sigBytes: Uint8Array): LeafOutcome | null {
  try {
    checkSigstructFields(sigBytes);
    verifySigstruct(s.hashing.hash, sigBytes);
    return null;
  } catch (error) {
    if (!(error instanceof SigstructError)) throw error;
    return trip(EINIT_CHECKS, error.code === 'SIGSTRUCT_FIELD' ? 'sigstruct-fields' : 'signature');
  }
}

/**
 * The values that IA32_SGXLEPUBKEYHASH can have at this EINIT: the locked one, or those of the launch policy. Without
 * either the driver would have put the enclave's own signer there.
 */
function launchKeyHashes(s: MonitorState, signer: Uint8Array): readonly Uint8Array[] {
  const { launchKeyHash, launchSigners } = s.platform;
  return launchKeyHash !== null ? [launchKeyHash] : (launchSigners ?? [signer]);
}

/** True when the signer can be the one of IA32_SGXLEPUBKEYHASH. */
function isLaunchSigner(s: MonitorState, signer: Uint8Array): boolean {
  return launchKeyHashes(s, signer).some((hash) => tagsEqual(hash, signer));
}

function checkAttributes(
  s: MonitorState,
  enclave: EnclaveRecord,
  sig: Sigstruct,
  signer: Uint8Array,
): LeafOutcome | null {
  const C = EINIT_CHECKS;
  const { flags, xfrm, miscselect } = enclave;
  if ((flags & 0x20n) !== 0n && !isLaunchSigner(s, signer)) return trip(C, 'controlled-attributes');
  const { FLAGS: flagMask, XFRM: xfrmMask } = sig.ATTRIBUTEMASK;
  const { FLAGS: wantFlags, XFRM: wantXfrm } = sig.ATTRIBUTES;
  if ((flags & flagMask) !== (wantFlags & flagMask) || (xfrm & xfrmMask) !== (wantXfrm & xfrmMask))
    return trip(C, 'attributes');
  if (((miscselect ^ sig.MISCSELECT) & sig.MISCMASK) !== 0) return trip(C, 'miscselect');
  return null;
}

/** Launch control. The token's fields are those of the launch enclave that made it. */
function checkLaunch(
  s: MonitorState,
  enclave: EnclaveRecord,
  token: Uint8Array,
  mrenclave: Uint8Array,
  signer: Uint8Array,
): LeafOutcome | null {
  const C = EINIT_CHECKS;
  if ((token[T.VALID] & 1) === 0) return isLaunchSigner(s, signer) ? null : trip(C, 'launch-signer');
  const debugLauncher = (token[T.MASKEDATTRIBUTESLE] & DEBUG) !== 0;
  if (debugLauncher && (enclave.flags & 2n) === 0n) return trip(C, 'token-debug');
  const reserved = (readU32(token, T.VALID) & ~1) === 0 && EINITTOKEN.firstReservedNonZero(token) === -1;
  if (!reserved) return trip(C, 'token-reserved');
  if (!cpuSvnWithin(s.platform, token, T.CPUSVNLE)) return trip(C, 'token-cpusvn');
  if (!launchKeyHashes(s, signer).some((launcher) => tokenFrom(s, token, launcher)))
    return trip(C, 'token-mac');
  const forThis =
    tagsEqual(token.subarray(T.MRENCLAVE, T.MRENCLAVE + 32), mrenclave) &&
    tagsEqual(token.subarray(T.MRSIGNER, T.MRSIGNER + 32), signer);
  if (!forThis) return trip(C, 'token-identity');
  const attributes = enclave.secs.subarray(S.ATTRIBUTES, S.ATTRIBUTES + 16);
  if (!tagsEqual(token.subarray(T.ATTRIBUTES, T.ATTRIBUTES + 16), attributes))
    return trip(C, 'token-attributes');
  return null;
}

/** True when the MAC of the token was made with the launch key of `launcher`'s enclaves. */
function tokenFrom(s: MonitorState, token: Uint8Array, launcher: Uint8Array): boolean {
  const key = s.keys.derive(
    KEYNAME_EINITTOKEN,
    launchKeyData(
      {
        attributes: token.subarray(T.MASKEDATTRIBUTESLE, T.MASKEDATTRIBUTESLE + 16),
        miscselect: readU32(token, T.MASKEDMISCSELECTLE),
        cpuSvn: token.subarray(T.CPUSVNLE, T.CPUSVNLE + 16),
        isvSvn: readU16(token, T.ISVSVNLE),
        isvProdId: readU16(token, T.ISVPRODIDLE),
        mrsigner: launcher,
        keyId: token.subarray(T.KEYID, T.KEYID + 32),
      },
      s.keys.ownerEpoch,
    ),
  );
  const expected = cmac(key, token.subarray(0, 192));
  wipe(key);
  return tagsEqual(expected, token.subarray(T.MAC, T.MAC + 16));
}

/** Conditions of this platform beside the manual's. */
function checkPlatform(s: MonitorState, enclave: EnclaveRecord): LeafOutcome | null {
  const C = EINIT_CHECKS;
  const provision = (enclave.flags & 0x10n) !== 0n;
  if (provision && s.platform.provisionNeedsAuthorization && !enclave.provisionAuthorized)
    return trip(C, 'provision-authorized');
  const { gpa, count } = enclave.gates ?? { gpa: 0, count: 0 };
  // They were the guest's when they were bound; it may have given them away since.
  if (threadCount(enclave) > count || (count > 0 && !guestWritable(s, gpa, count * 4096)))
    return trip(C, 'gates-bound');
  return null;
}

/** Commits the identity, marks the enclave initialized and starts its processor; undone when that fails. */
function commit(
  s: MonitorState,
  enclave: EnclaveRecord,
  sig: Sigstruct,
  mrenclave: Uint8Array,
  signer: Uint8Array,
): LeafOutcome {
  const before = enclave.secs.slice();
  enclave.secs.set(mrenclave, S.MRENCLAVE);
  enclave.secs.set(signer, S.MRSIGNER);
  SECS.patch({ ISVPRODID: sig.ISVPRODID, ISVSVN: sig.ISVSVN }, enclave.secs);
  enclave.isvExtProdId.set(sig.ISVEXTPRODID);
  enclave.isvFamilyId.set(sig.ISVFAMILYID);
  enclave.markInitialized();
  const start = processorStart(s, enclave);
  const running = attempt(() => s.processor.start(start), s.failures);
  if (running === null) {
    enclave.secs.set(before);
    enclave.isvExtProdId.fill(0);
    enclave.isvFamilyId.fill(0);
    return trip(EINIT_CHECKS, 'processor-started');
  }
  enclave.running = running;
  enclave.epochAtStart = enclave.epoch;
  enclave.measurement.release?.();
  admitThreads(s, enclave, start.threads);
  return DONE;
}
