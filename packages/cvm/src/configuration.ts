import { NsgxError } from '@nestedsgx/arch';
import { MAX_EPC_BYTES, MAX_RAM_BYTES, RAM_SLOTS } from '@nestedsgx/machine';
import { z } from 'zod';

const MIB = 2 ** 20;
/** MRSIGNERs of a launch policy at most. */
const MAX_LAUNCH_SIGNERS = 32;

const schema = z.strictObject({
  format: z.literal(1),
  /** What keeps the cvm apart from its hosts; part of what is measured and signed. */
  isolation: z.enum(['same-user', 'separate-user']),
  /** `host`: ends with the launcher. `service`: lives until it is told to stop. */
  lifetime: z.enum(['host', 'service']),
  ramBytes: z
    .number()
    .int()
    .min(16 * MIB)
    .max(MAX_RAM_BYTES)
    .multipleOf(2 * MIB),
  /** Where guest RAM is mapped: the launcher's choice, since the place must be free in the host too; null: any. */
  ramSlot: z
    .number()
    .int()
    .min(0)
    .max(RAM_SLOTS - 1)
    .nullable(),
  /**
   * Where a guest with a kernel of its own keeps what it shares with the machine, in its RAM; null: the guests are
   * processes, which share all of guest RAM.
   */
  window: z
    .strictObject({
      gpa: z
        .number()
        .int()
        .min(MIB)
        .multipleOf(2 * MIB),
      bytes: z
        .number()
        .int()
        .min(8 * MIB)
        .max(MAX_RAM_BYTES)
        .multipleOf(2 * MIB),
    })
    .nullable()
    .default(null),
  epcBytes: z.number().int().min(MIB).max(MAX_EPC_BYTES).multipleOf(4096),
  /** Directory of the software PSP's keys; null makes a chip that is forgotten with the process. */
  stateDir: z.string().min(1).max(4096).nullable(),
  /** Whether ENCLU sites are rewritten to jump to the runner's gate. */
  patch: z.boolean(),
  /** Launch control: the MRSIGNERs that EINIT accepts, ascending and each once; none: flexible launch, any signer. */
  launchSigners: z
    .array(z.string().regex(/^[0-9a-f]{64}$/))
    .max(MAX_LAUNCH_SIGNERS)
    .refine((signers) => signers.every((signer, i) => i === 0 || signers[i - 1]! < signer), {
      message: 'MRSIGNERs must ascend, each once',
    })
    .default([]),
  /** Whether hosts may grant descriptors of theirs to enclaves; not measured, since it is the host that this protects. */
  hostDescriptors: z.boolean().default(true),
  /** A connection to a tracer was handed over; not measured, since it changes nothing but what is told. */
  tracer: z.literal(true).optional(),
});

/** Settings of one confidential VM, as the launcher hands them over. Sizes in bytes. */
export type CvmConfiguration = z.infer<typeof schema>;

/**
 * Reads the configuration that the launcher sealed into memory.
 * @throws NsgxError CVM_CONFIGURATION_INVALID naming the field.
 */
export function parseConfiguration(bytes: Uint8Array): CvmConfiguration {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new NsgxError('CVM_CONFIGURATION_INVALID', 'the configuration is not JSON', { cause });
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const field = issue?.path.join('.') || 'configuration';
  throw new NsgxError(
    'CVM_CONFIGURATION_INVALID',
    `configuration field ${field}: ${issue?.message ?? 'invalid'}`,
    {
      advice: 'Launch the confidential VM through Cvm.launch or nsgx cvm start.',
    },
  );
}
