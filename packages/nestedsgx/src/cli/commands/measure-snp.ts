/** `nsgx measure --snp`: the launch digest of a guest on SNP hardware, from what its hypervisor is given. */
import { createHash, createPublicKey, type KeyObject } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import {
  type Firmware,
  type GuestLaunch,
  hashCommandLine,
  type KernelHashes,
  LAUNCH_VMMS,
  type LaunchVmm,
  measureFirmware,
  measureGuestLaunch,
  NsgxError,
  parseFirmware,
  VCPU_TYPES,
} from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import { snpKeyDigest } from '@nestedsgx/attest';
import type { Command } from 'commander';
import { bytesFromHex, hex, readLimited } from '../files.js';
import { type Terminal, UsageError } from '../terminal.js';

/** Options of `nsgx measure --snp`, named as sev-snp-measure has them. */
export interface MeasureSnpOptions {
  ovmf?: string;
  ovmfHash?: string;
  kernel?: string;
  initrd?: string;
  append?: string;
  vcpus?: string;
  vcpuType?: string;
  vcpuSig?: string;
  guestFeatures?: string;
  vmmType?: string;
  svsm?: string;
  varsSize?: string;
}

const FIRMWARE_LIMIT = 64 * 1024 * 1024;
const KEY_LIMIT = 1 << 16;

/** Adds the options of `--snp` to the command `measure`. */
export function addSnpOptions(command: Command): Command {
  return command
    .option('--snp', 'launch digest of a guest on SNP hardware, from what its hypervisor is given')
    .option('--ovmf <file>', 'with --snp: the firmware')
    .option(
      '--ovmf-hash <hex>',
      "with --snp: the digest after the firmware's pages, in place of measuring them",
    )
    .option('--kernel <file>', 'with --snp: a kernel that the hypervisor boots directly')
    .option('--initrd <file>', 'with --kernel: its initrd')
    .option('--append <text>', 'with --kernel: its command line')
    .option('--vcpus <n>', 'with --snp: the number of vCPUs', '1')
    .option('--vcpu-type <name>', `with --snp: a type of QEMU, such as ${Object.keys(VCPU_TYPES)[5]}`)
    .option('--vcpu-sig <number>', 'with --snp: a CPUID signature in place of a type')
    .option('--guest-features <number>', 'with --snp: SEV_FEATURES of the vCPUs', '0x1')
    .option('--vmm-type <name>', `with --snp: ${LAUNCH_VMMS.join(', ')}`, 'qemu')
    .option('--svsm <file>', 'with --snp: the SVSM that the guest starts in')
    .option('--vars-size <bytes>', "with --svsm: size of the firmware's variables")
    .option(
      '--snp-key <file>',
      'digest of an ID or author key (PEM; key or certificate), as SNP reports name it',
    );
}

function integer(text: string, option: string): bigint {
  if (!/^(0x[0-9a-f]+|\d+)$/i.test(text)) throw new UsageError(`${option} wants a number, not "${text}"`);
  return BigInt(text);
}

function bounded(text: string, option: string, limit: number): number {
  const value = integer(text, option);
  if (value > BigInt(limit)) throw new UsageError(`${option} is at most ${limit}, not ${text}`);
  return Number(value);
}

function vmmOf(text: string): LaunchVmm {
  const vmm = LAUNCH_VMMS.find((name) => name === text.toLowerCase());
  if (vmm === undefined)
    throw new UsageError(`--vmm-type is one of ${LAUNCH_VMMS.join(', ')}, not "${text}"`);
  return vmm;
}

function signatureOf(options: MeasureSnpOptions, vmm: LaunchVmm): number {
  const { vcpuSig, vcpuType } = options;
  if (vcpuSig !== undefined && vcpuType !== undefined)
    throw new UsageError('give --vcpu-type or --vcpu-sig, not both');
  if (vcpuSig !== undefined) return bounded(vcpuSig, '--vcpu-sig', 0xffff_ffff);
  if (vcpuType !== undefined) {
    if (!Object.hasOwn(VCPU_TYPES, vcpuType))
      throw new UsageError(`--vcpu-type is one of ${Object.keys(VCPU_TYPES).join(', ')}, not "${vcpuType}"`);
    return VCPU_TYPES[vcpuType]!;
  }
  if (vmm === 'qemu') throw new UsageError('QEMU measures the type of vCPU: give --vcpu-type or --vcpu-sig');
  return 0;
}

/** SHA-256 of a file of any size. @throws NsgxError FILE_UNREADABLE */
function hashFile(path: string, what: string): Uint8Array {
  let file: number | undefined;
  try {
    file = openSync(path, 'r');
    if (fstatSync(file).isDirectory()) throw new Error('it is a folder');
    const hash = createHash('sha256');
    const chunk = new Uint8Array(1 << 20);
    for (let read = readSync(file, chunk); read > 0; read = readSync(file, chunk))
      hash.update(chunk.subarray(0, read));
    return new Uint8Array(hash.digest());
  } catch (cause) {
    throw new NsgxError('FILE_UNREADABLE', `${what} ${path} cannot be read: ${(cause as Error).message}`, {
      cause,
      advice: 'Check the path.',
    });
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

function kernelOf(options: MeasureSnpOptions): KernelHashes | undefined {
  const { kernel, initrd, append } = options;
  if (kernel === undefined) {
    if (initrd !== undefined || append !== undefined)
      throw new UsageError('--initrd and --append belong to a kernel: give --kernel');
    return undefined;
  }
  return {
    kernel: hashFile(kernel, 'kernel'),
    initrd: initrd === undefined ? nodeHash.sha256().digest() : hashFile(initrd, 'initrd'),
    cmdline: hashCommandLine(nodeHash, append ?? ''),
  };
}

function svsmOf(options: MeasureSnpOptions): GuestLaunch['svsm'] {
  const { svsm, varsSize } = options;
  if (svsm === undefined) {
    if (varsSize !== undefined) throw new UsageError('--vars-size belongs to --svsm');
    return undefined;
  }
  if (varsSize === undefined)
    throw new UsageError("--svsm needs --vars-size, the bytes of the firmware's variables");
  return { image: image(svsm, 'SVSM'), variablesSize: bounded(varsSize, '--vars-size', FIRMWARE_LIMIT) };
}

function image(path: string, what: string): Firmware {
  return parseFirmware(readLimited(path, FIRMWARE_LIMIT, what));
}

/** Prints the launch digest, and the digest of the firmware alone. @throws UsageError, NsgxError */
export function runMeasureSnp(terminal: Terminal, options: MeasureSnpOptions): void {
  if (options.ovmf === undefined) throw new UsageError('--snp needs the firmware: give --ovmf');
  const vmm = vmmOf(options.vmmType ?? 'qemu');
  const signature = signatureOf(options, vmm);
  const features = integer(options.guestFeatures ?? '0x1', '--guest-features');
  if (features >= 1n << 64n) throw new UsageError('--guest-features has at most 64 bits');
  const vcpus = bounded(options.vcpus ?? '1', '--vcpus', 0xffff);
  const kernel = kernelOf(options);
  const svsm = svsmOf(options);
  const firmware = image(options.ovmf, 'firmware');
  const firmwareDigest =
    options.ovmfHash === undefined
      ? measureFirmware(nodeHash, firmware)
      : bytesFromHex(options.ovmfHash, '--ovmf-hash', 48);
  const launchDigest = measureGuestLaunch(nodeHash, {
    firmware,
    firmwareDigest,
    vcpus,
    vcpuSignature: signature,
    guestFeatures: features,
    vmm,
    ...(kernel === undefined ? {} : { kernel }),
    ...(svsm === undefined ? {} : { svsm }),
  });
  if (firmware.sections.length === 0 && svsm === undefined)
    terminal.note('nsgx: the firmware has no SEV metadata; a build for AMD SEV has');
  terminal.answer(
    { launchDigest: hex(launchDigest), firmwareDigest: hex(firmwareDigest) },
    hex(launchDigest),
  );
}

/** Prints the digest of a key. @throws NsgxError, UsageError for what is no key, AttestError for another kind of key */
export function measureSnpKey(terminal: Terminal, path: string): void {
  let key: KeyObject;
  try {
    key = createPublicKey(Buffer.from(readLimited(path, KEY_LIMIT, 'key')));
  } catch (cause) {
    if (cause instanceof NsgxError) throw cause;
    throw new UsageError(`${path} holds no key in PEM, or an encrypted one`, { cause });
  }
  const keyDigest = snpKeyDigest(new Uint8Array(key.export({ type: 'spki', format: 'der' })));
  terminal.answer({ keyDigest }, keyDigest);
}
