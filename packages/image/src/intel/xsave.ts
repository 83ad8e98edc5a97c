/**
 * What an exception saves of the processor. Source: Intel SGX SDK for Linux 2.26,
 * sdk/sign_tool/SignTool/manage_metadata.cpp; Intel SDM Vol. 1, "XSAVE Area".
 */
import { PAGE } from '../sgxs/format.js';

/** Bytes of an XSAVE area that has everything up to and including these components. */
const AREAS: readonly { readonly xfrm: bigint; readonly bytes: number }[] = [
  { xfrm: 0x3n, bytes: 576 },
  { xfrm: 0x6n, bytes: 832 },
  { xfrm: 0xe6n, bytes: 2688 },
  { xfrm: 0x200n, bytes: 2752 },
  { xfrm: 0x6_0000n, bytes: 11_008 },
];
const GPRSGX_SIZE = 184;

/** Sizes that follow from XFRM. */
export interface ProcessorState {
  /** metadata_t.max_save_buffer_size. */
  readonly xsaveSize: number;
  /** Pages of an SSA frame. */
  readonly ssaFrameSize: number;
}

/** The sizes for what XFRM may have in the enclave. */
export function processorState(xfrm: bigint): ProcessorState {
  let xsaveSize = 0;
  for (const area of AREAS) if ((xfrm & area.xfrm) === area.xfrm) xsaveSize = area.bytes;
  return { xsaveSize, ssaFrameSize: Math.ceil((xsaveSize + GPRSGX_SIZE) / PAGE) };
}
