/** ATTRIBUTES and MISCSELECT of the SECS for an enclave of Intel's SDK. */
import {
  ATTRIBUTES_AEX_NOTIFY,
  ATTRIBUTES_DEBUG,
  ATTRIBUTES_EINITTOKEN_KEY,
  ATTRIBUTES_KSS,
  ATTRIBUTES_MODE64BIT,
  ATTRIBUTES_PROVISIONKEY,
  MISCSELECT_EXINFO,
  SIGSTRUCT,
  XFRM_LEGACY,
} from '@nestedsgx/arch';
import type { IntelImage } from '@nestedsgx/image';
import { sdkError } from '../errors.js';
import { platformXfrm } from '../platform.js';

/** What this machine's processor offers in ATTRIBUTES.FLAGS. */
const PLATFORM_FLAGS =
  ATTRIBUTES_DEBUG |
  ATTRIBUTES_MODE64BIT |
  ATTRIBUTES_PROVISIONKEY |
  ATTRIBUTES_EINITTOKEN_KEY |
  ATTRIBUTES_KSS |
  ATTRIBUTES_AEX_NOTIFY;

/** Choices at ECREATE. */
export interface SecsChoice {
  attributes: { FLAGS: bigint; XFRM: bigint };
  miscselect: number;
}

/**
 * What the metadata asks for, as far as the processor has it, checked against the masks of the signature before EINIT
 * would refuse it.
 * Source: Intel SGX SDK for Linux, psw/urts/enclave_creator_hw_com.cpp (get_misc_attr).
 * @throws IMAGE_UNSUPPORTED, ENCLAVE_NOT_DEBUGGABLE
 */
export function chooseIntelAttributes(
  image: Pick<IntelImage, 'attributes' | 'miscselect' | 'sigstruct'>,
  debug: boolean,
  platform = platformXfrm(),
): SecsChoice {
  const signed = SIGSTRUCT.decode(image.sigstruct);
  const mask = signed.ATTRIBUTEMASK;
  const wanted = image.attributes;
  if ((wanted.XFRM & XFRM_LEGACY) !== XFRM_LEGACY)
    throw sdkError(
      'IMAGE_UNSUPPORTED',
      `XFRM 0x${wanted.XFRM.toString(16)} of the enclave's metadata lacks x87 or SSE state`,
      'sign the enclave again with its own tool',
    );
  if (debug && (mask.FLAGS & ATTRIBUTES_DEBUG) !== 0n && (signed.ATTRIBUTES.FLAGS & ATTRIBUTES_DEBUG) === 0n)
    throw sdkError(
      'ENCLAVE_NOT_DEBUGGABLE',
      'the enclave was signed with DisableDebug and cannot be loaded for debugging (SGX_ERROR_NDEBUG_ENCLAVE)',
      'load it without debug, or sign it with <DisableDebug>0</DisableDebug>',
    );
  const asked = debug ? wanted.FLAGS | ATTRIBUTES_DEBUG : wanted.FLAGS & ~ATTRIBUTES_DEBUG;
  const attributes = { FLAGS: asked & PLATFORM_FLAGS, XFRM: wanted.XFRM & platform };
  if ((attributes.XFRM & mask.XFRM) !== (signed.ATTRIBUTES.XFRM & mask.XFRM))
    throw sdkError(
      'IMAGE_UNSUPPORTED',
      `the enclave was signed for XFRM 0x${signed.ATTRIBUTES.XFRM.toString(16)} under mask 0x${mask.XFRM.toString(16)}; ` +
        `this processor offers 0x${platform.toString(16)} (SGX_ERROR_INVALID_ATTRIBUTE)`,
      'run it on a processor with these extensions, or sign it with a smaller XFRM mask',
    );
  if ((attributes.FLAGS & mask.FLAGS) !== (signed.ATTRIBUTES.FLAGS & mask.FLAGS))
    throw sdkError(
      'IMAGE_UNSUPPORTED',
      `ATTRIBUTES 0x${attributes.FLAGS.toString(16)} are not those that were signed: 0x${signed.ATTRIBUTES.FLAGS.toString(16)} ` +
        `under mask 0x${mask.FLAGS.toString(16)} (SGX_ERROR_INVALID_ATTRIBUTE)`,
      debug ? 'load it without debug' : 'load it with the debug option if it was signed for debugging only',
    );
  const miscselect = (signed.MISCSELECT | image.miscselect) & MISCSELECT_EXINFO;
  if ((miscselect & signed.MISCMASK) !== (signed.MISCSELECT & signed.MISCMASK))
    throw sdkError(
      'IMAGE_UNSUPPORTED',
      `the enclave was signed for MISCSELECT 0x${signed.MISCSELECT.toString(16)}; this processor offers 0x1 (SGX_ERROR_INVALID_MISC)`,
      'sign it with a smaller MiscSelect or MiscMask',
    );
  return { attributes, miscselect };
}
