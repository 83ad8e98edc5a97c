/** The proof of the report: a machine is launched, the sample loaded, called and attested. */
import { verify } from '@nestedsgx/attest';
import { sampleImage } from '@nestedsgx/enclave';
import { Cvm } from '@nestedsgx/sdk';

/** What the launch test observed. Times in milliseconds. */
export interface LaunchTest {
  /** From nothing to a confidential VM that is ready. */
  readonly launchMs: number;
  /** From there to the end of the first ECALL. */
  readonly loadMs: number;
  readonly isolation: string;
  readonly launchDigest: string;
  /** Ids of checks that kept the evidence from being accepted; empty when it was accepted. */
  readonly refused: readonly string[];
}

/**
 * Runs the test on a private machine with a chip that is forgotten afterwards: nothing is left behind.
 * @throws what `Cvm.launch`, `Cvm.load` and the call throw; PROJECT_NOT_BUILT when the sample is not built
 */
export async function testLaunch(): Promise<LaunchTest> {
  const image = sampleImage('calc');
  const started = performance.now();
  const cvm = await Cvm.launch({ stateDir: null });
  try {
    const ready = performance.now();
    const enclave = await cvm.load(image);
    const sum: unknown = enclave.ecalls.add!(2, 3);
    const called = performance.now();
    if (sum !== 5) throw new Error(`the sample enclave computed 2 + 3 = ${String(sum)}`);
    const { launchDigest, rootFingerprint, isolation } = await cvm.info();
    const reportData = crypto.getRandomValues(new Uint8Array(64));
    const nested = {
      mrenclave: [Buffer.from(enclave.mrenclave).toString('hex')],
      launchDigest: [launchDigest],
      softwareRoots: [rootFingerprint],
      isolation: [isolation],
    };
    const { verdict, checks } = await verify(enclave.attest({ reportData }), {
      policy: { version: 1, nested },
      reportData,
    });
    const failed = checks.filter((check) => check.status === 'failed').map((check) => check.id);
    return {
      launchMs: ready - started,
      loadMs: called - ready,
      isolation,
      launchDigest,
      refused: verdict === 'accepted' ? [] : failed,
    };
  } finally {
    await cvm.close();
  }
}
