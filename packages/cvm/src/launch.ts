import { randomInt } from 'node:crypto';
import { NsgxError, SNP_PAGE_TYPE } from '@nestedsgx/arch';
import { DEFAULT_POLICY, GuestMessageChannel, Machine, RAM_SLOTS, SoftwarePsp } from '@nestedsgx/machine';
import * as os from '@nestedsgx/os';
import type { CvmConfiguration } from './configuration.js';
import { makeIdBlock, openIdKey } from './id-block.js';
import { components, layRegions, measureNode } from './measure.js';
import { LAUNCH_FDS, type MeasuredLaunch, type Part, readDescriptor } from './parts.js';

const PAGE = 4096;
const LARGE_PAGE = 2 ** 21;
const SEALS = os.F_SEAL_WRITE | os.F_SEAL_SHRINK | os.F_SEAL_GROW | os.F_SEAL_SEAL;

/** The measured parts in the order in which they are laid out, and the descriptors they arrive in. */
const PARTS = [
  ['monitor', LAUNCH_FDS.bundle],
  ['koffi', LAUNCH_FDS.koffi],
  ['library', LAUNCH_FDS.library],
  ['runner', LAUNCH_FDS.runner],
] as const;

/** Builds the machine, lays the monitor's parts into VMPL0 and has the PSP measure them. */
export async function launchMachine(
  configuration: CvmConfiguration,
): Promise<{ machine: Machine; launched: MeasuredLaunch }> {
  const parts = PARTS.map(([name, fd]) => sealedPart(name, fd));
  const node = measureNode('/proc/self/exe', process.version);
  const psp = await SoftwarePsp.open(configuration.stateDir);
  const machine = Machine.create({
    psp,
    ramBytes: configuration.ramBytes,
    slot: configuration.ramSlot ?? randomInt(RAM_SLOTS),
    window: configuration.window === null ? undefined : { ...configuration.window, relayed: true },
    epcBytes: Math.max(LARGE_PAGE, configuration.epcBytes - (configuration.epcBytes % LARGE_PAGE)),
  });
  psp.launchStart({ policy: DEFAULT_POLICY });
  for (const region of layRegions(configuration, node, parts)) {
    machine.addMonitorPages(region.gpa, region.bytes, region.name);
    for (let at = 0; at < region.bytes.length; at += PAGE)
      psp.launchUpdate(SNP_PAGE_TYPE.NORMAL, region.gpa + at, region.bytes.subarray(at, at + PAGE));
  }
  const identity = { policy: DEFAULT_POLICY, familyId: 'nestedsgx', imageId: configuration.isolation };
  const digest = psp.launchFinish(
    makeIdBlock({ ...identity, launchDigest: psp.measurement() }, openIdKey(configuration.stateDir)),
  );
  return {
    machine,
    launched: {
      launchDigest: Buffer.from(digest).toString('hex'),
      rootFingerprint: Buffer.from(psp.rootFingerprint()).toString('hex'),
      components: components(configuration, node, parts),
    },
  };
}

/** The monitor's way to its PSP: guest messages under VMPCK0. */
export function guestMessages({ psp }: Machine): GuestMessageChannel {
  return new GuestMessageChannel(0, psp.vmpck(0), (message) => psp.guestRequest(message));
}

function sealedPart(name: string, fd: number): Part {
  if ((os.seals(fd) & SEALS) !== SEALS)
    throw new NsgxError('CVM_PART_UNSEALED', `the part "${name}" is not in sealed memory`, {
      advice: 'Launch through Cvm.launch or nsgx cvm start.',
    });
  return { name, bytes: readDescriptor(fd, name) };
}
