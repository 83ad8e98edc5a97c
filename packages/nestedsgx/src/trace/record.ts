/** Records of a tracer as they come over the socket, checked before anything is done with them. */
import { NsgxError } from '@nestedsgx/arch';
import { z } from 'zod';

/** Printable, so that nothing in a record reaches the terminal as a control sequence. */
const text = z.string().regex(/^\P{C}{1,300}$/u);
const count = z.number().int().min(0);

const recordSchema = z.object({
  /** Microseconds since the machine's process began. */
  at: count,
  kind: z.enum(['encls', 'enclu', 'svsm']),
  name: text,
  owner: count,
  enclave: count.optional(),
  thread: count.optional(),
  /** RBX, RCX, RDX of a leaf, RCX, RDX, R8 of a call; hexadecimal text where 2^53 or more. */
  operands: z.array(z.union([count, z.string().regex(/^0x[0-9a-f]{1,16}$/)])).length(3),
  result: text,
  fault: z.object({ vector: count, errorCode: count, address: z.number().nullable() }).optional(),
  check: text.optional(),
  requires: text.optional(),
  deviation: z.boolean().optional(),
  done: count.optional(),
  microseconds: z.number().min(0),
});
const gapSchema = z.object({ lost: count });
const messageSchema = z.union([
  z.object({ op: z.literal('trace'), records: z.array(z.union([gapSchema.strict(), recordSchema])) }),
  z.object({ ok: z.literal(true), pid: count }),
  z.object({ ok: z.literal(false), code: text, message: z.string().max(1000) }),
]);

/** One leaf or call. */
export type TraceRecord = z.output<typeof recordSchema>;
/** Records that the tracer was too slow for. */
export type TraceGap = z.output<typeof gapSchema>;
/** A message of a traced machine. */
export type TraceMessage = z.output<typeof messageSchema>;

/** Parses one datagram. @throws NsgxError TRACE_RECORD */
export function parseMessage(bytes: Uint8Array): TraceMessage {
  try {
    return messageSchema.parse(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)));
  } catch (cause) {
    throw new NsgxError('TRACE_RECORD', 'the confidential VM sent a trace record that cannot be read', {
      advice: 'use the nsgx of the version that the machine was started with',
      cause,
    });
  }
}

/** True for a gap. */
export function isGap(record: TraceRecord | TraceGap): record is TraceGap {
  return 'lost' in record;
}
