/**
 * The launch digest of a guest from its parts: firmware, kernel hashes and vCPUs, in the order in which
 * QEMU/KVM, EC2 and GCE hand them to SNP_LAUNCH_UPDATE.
 */
import { NsgxError } from '../../errors.js';
import type { HashProvider } from '../../hash/provider.js';
import { LaunchDigest } from '../launch-digest.js';
import { SNP_PAGE_TYPE, SNP_VMSA_GPA } from '../page-info.js';
import {
  FIRMWARE_SECTION,
  type Firmware,
  type FirmwareSection,
  hashTableAddress,
  resetAddress,
  svsmEntry,
} from './firmware.js';
import { firmwareVmsa, type LaunchVmm, RESET_VECTOR, svsmVmsa } from './initial-vmsa.js';
import { type KernelHashes, kernelHashesPage } from './kernel-hashes.js';

const PAGE = 4096;
const FOUR_GIB = 0x1_0000_0000;
/** No hypervisor starts more vCPUs with VMSAs of their own. */
export const MAX_LAUNCH_VCPUS = 4096;

/** One step of SNP_LAUNCH_UPDATE; contents null for types that are not measured by content. */
export interface LaunchPage {
  readonly type: number;
  readonly gpa: bigint;
  readonly contents: Uint8Array | null;
}

/** What a guest is launched from. */
export interface GuestLaunch {
  readonly firmware: Firmware;
  /** The digest after the firmware's own pages (48 bytes), in place of measuring them. */
  readonly firmwareDigest?: Uint8Array;
  /** Of a kernel that the hypervisor boots directly. */
  readonly kernel?: KernelHashes;
  readonly vcpus: number;
  /** CPUID signature, see `VCPU_TYPES` and `vcpuSignature`. EC2 and GCE do not measure it. */
  readonly vcpuSignature: number;
  /** SEV_FEATURES of the VMSAs; 1 (SNP active) when left out. */
  readonly guestFeatures?: bigint;
  readonly vmm?: LaunchVmm;
  /** A guest that starts in an SVSM, which lies below the firmware and the firmware's variables (QEMU only). */
  readonly svsm?: { readonly image: Firmware; readonly variablesSize: number };
}

function refuse(reason: string): never {
  throw new NsgxError('SNP_LAUNCH_OPTION', reason);
}

function* normalPages(bytes: Uint8Array, gpa: number): Generator<LaunchPage> {
  for (let at = 0; at < bytes.length; at += PAGE)
    yield { type: SNP_PAGE_TYPE.NORMAL, gpa: BigInt(gpa + at), contents: bytes.subarray(at, at + PAGE) };
}

function* emptyPages(type: number, { gpa, size }: FirmwareSection): Generator<LaunchPage> {
  for (let at = 0; at < size; at += PAGE) yield { type, gpa: BigInt(gpa + at), contents: null };
}

function* hashesPages(launch: GuestLaunch, section: FirmwareSection): Generator<LaunchPage> {
  if (launch.kernel === undefined) return yield* emptyPages(SNP_PAGE_TYPE.ZERO, section);
  const address = hashTableAddress(launch.firmware);
  if (section.size !== PAGE || address - (address % PAGE) !== section.gpa)
    refuse('the firmware reserves another place for kernel hashes than it reads them from');
  yield* normalPages(kernelHashesPage(launch.kernel, address % PAGE), section.gpa);
}

function* sectionPages(launch: GuestLaunch, vmm: LaunchVmm, section: FirmwareSection): Generator<LaunchPage> {
  const one = (type: number): LaunchPage => ({ type, gpa: BigInt(section.gpa), contents: null });
  switch (section.type) {
    case FIRMWARE_SECTION.SNP_SEC_MEM:
      return yield* emptyPages(vmm === 'gce' ? SNP_PAGE_TYPE.UNMEASURED : SNP_PAGE_TYPE.ZERO, section);
    case FIRMWARE_SECTION.SVSM_CAA:
      return yield* emptyPages(SNP_PAGE_TYPE.ZERO, section);
    case FIRMWARE_SECTION.SNP_SECRETS:
      return yield one(SNP_PAGE_TYPE.SECRETS);
    case FIRMWARE_SECTION.CPUID:
      return yield one(SNP_PAGE_TYPE.CPUID);
    case FIRMWARE_SECTION.SNP_KERNEL_HASHES:
      return yield* hashesPages(launch, section);
    default:
      refuse(`the firmware's metadata have a section of type ${section.type}, which is not known`);
  }
}

/** EC2 inserts the CPUID page after all others. */
function inOrder(sections: readonly FirmwareSection[], vmm: LaunchVmm): readonly FirmwareSection[] {
  if (vmm !== 'ec2') return sections;
  const isCpuid = (section: FirmwareSection) => section.type === FIRMWARE_SECTION.CPUID;
  return [...sections.filter((section) => !isCpuid(section)), ...sections.filter(isCpuid)];
}

/**
 * Every page of a launch, in order.
 *
 * Throws SNP_LAUNCH_OPTION for what does not go together, SNP_FIRMWARE for an image that lacks what is needed.
 */
export function* launchPages(launch: GuestLaunch): Generator<LaunchPage> {
  const { firmware, vcpus, vcpuSignature: signature, svsm, vmm = 'qemu' } = launch;
  if (!Number.isInteger(vcpus) || vcpus < 1 || vcpus > MAX_LAUNCH_VCPUS)
    refuse(`a guest has 1 to ${MAX_LAUNCH_VCPUS} vCPUs, not ${vcpus}`);
  const below = FOUR_GIB - firmware.bytes.length;
  if (launch.firmwareDigest === undefined) yield* normalPages(firmware.bytes, below);
  const vmsa = (contents: Uint8Array): LaunchPage => ({
    type: SNP_PAGE_TYPE.VMSA,
    gpa: SNP_VMSA_GPA,
    contents,
  });
  if (svsm !== undefined) {
    if (vmm !== 'qemu') refuse(`a launch with an SVSM is known of QEMU only, not of ${vmm}`);
    if (launch.kernel !== undefined) refuse('a launch with an SVSM takes no kernel');
    const base = below - svsm.variablesSize - svsm.image.bytes.length;
    if (base < 0 || base % PAGE !== 0)
      refuse(`the firmware's variables have ${svsm.variablesSize} bytes, which leaves no place for the SVSM`);
    yield* normalPages(svsm.image.bytes, base);
    for (const section of svsm.image.sections) yield* sectionPages(launch, vmm, section);
    const start = svsmVmsa(base + svsmEntry(svsm.image), signature);
    for (let i = 0; i < vcpus; i++) yield vmsa(start);
    return;
  }
  if (
    launch.kernel !== undefined &&
    !firmware.sections.some(({ type }) => type === FIRMWARE_SECTION.SNP_KERNEL_HASHES)
  )
    refuse('a kernel was given and the firmware has no section for kernel hashes: its build checks none');
  for (const section of inOrder(firmware.sections, vmm)) yield* sectionPages(launch, vmm, section);
  const features = launch.guestFeatures ?? 1n;
  yield vmsa(firmwareVmsa(vmm, RESET_VECTOR, signature, features));
  if (vcpus === 1) return;
  const further = firmwareVmsa(vmm, resetAddress(firmware), signature, features);
  for (let i = 1; i < vcpus; i++) yield vmsa(further);
}

/** The launch digest (48 bytes) of a guest. Throws as {@link launchPages}. */
export function measureGuestLaunch(hash: HashProvider, launch: GuestLaunch): Uint8Array {
  const digest = new LaunchDigest(hash, launch.firmwareDigest);
  for (const { type, gpa, contents } of launchPages(launch)) digest.update(type, gpa, contents);
  return digest.digest;
}

/** The digest after the pages of the firmware alone, which `firmwareDigest` takes. */
export function measureFirmware(hash: HashProvider, firmware: Firmware): Uint8Array {
  const digest = new LaunchDigest(hash);
  for (const page of normalPages(firmware.bytes, FOUR_GIB - firmware.bytes.length))
    digest.update(page.type, page.gpa, page.contents);
  return digest.digest;
}
