import { NsgxError } from '@nestedsgx/arch';
import { z } from 'zod';

/** Largest message on the control socket, in bytes, both ways. */
export const MESSAGE_LIMIT = 65_536;

/** Which records a tracer wants. */
const traceFilter = {
  /** Names of leaves and calls; all when missing. */
  leaves: z.array(z.string().max(32)).max(64).optional(),
  /** Only what did not end with success. */
  failed: z.boolean().optional(),
  /** Only what concerns the enclave with this id. */
  enclave: z.number().int().min(0).optional(),
};

/** Which records a tracer wants; everything when empty. */
export type TraceFilter = z.infer<z.ZodObject<typeof traceFilter>>;

const request = z.discriminatedUnion('op', [
  /** Become a guest: guest RAM, one vCPU, a slice of RAM and a range of EPC frames. 0 bytes: the default. */
  z.strictObject({
    op: z.literal('attach'),
    slice: z
      .number()
      .int()
      .min(0)
      .max(2 ** 40),
    epc: z
      .number()
      .int()
      .min(0)
      .max(2 ** 40),
  }),
  /** One more vCPU for an attached guest. */
  z.strictObject({ op: z.literal('vcpu') }),
  /** The socket over which descriptors are granted to an enclave of this guest, named by its SECS page; once. */
  z.strictObject({
    op: z.literal('grants'),
    secs: z.number().int().min(0).max(Number.MAX_SAFE_INTEGER),
  }),
  z.strictObject({ op: z.literal('info') }),
  z.strictObject({ op: z.literal('ps') }),
  /** Counters of the machine and of the enclaves that the asker may see. */
  z.strictObject({ op: z.literal('stats') }),
  /** From now on, a message `trace` for what is done on behalf of the asker's account (or of all). */
  z.strictObject({ op: z.literal('trace'), ...traceFilter }),
  z.strictObject({ op: z.literal('stop') }),
]);

/** A request on the control socket. */
export type ControlRequest = z.infer<typeof request>;

/**
 * Parses one datagram of the control socket.
 * @throws NsgxError CVM_REQUEST_INVALID saying what is wrong with it.
 */
export function parseRequest(bytes: Uint8Array): ControlRequest {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new NsgxError('CVM_REQUEST_INVALID', `a control message of ${bytes.length} bytes is not JSON`, {
      cause,
    });
  }
  const result = request.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new NsgxError(
    'CVM_REQUEST_INVALID',
    `control message field ${issue?.path.join('.') || 'op'}: ${issue?.message ?? 'invalid'}`,
  );
}

/** Encodes a reply or announcement as one datagram. */
export function encodeMessage(message: object): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(message));
}
