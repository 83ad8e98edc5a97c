/** The confidential VM behind a guest, and the memory that is the guest's RAM. */
import type { KernelGuestShare } from '@nestedsgx/guest';
import {
  close,
  type Mapping,
  memfdCreate,
  mmap,
  type PollHandle,
  PROT_READ,
  PROT_WRITE,
  pollReadable,
} from '@nestedsgx/os';
import { Cvm, type LaunchOptions } from '@nestedsgx/sdk';
import { writeInfoPage } from './info-page.js';
import { WINDOW } from './options.js';

/** SVSM vCPUs that the guest's module has: its tasks take them in turn. */
const VCPUS = 16;
const PAGE = 4096;

/** Guest RAM as this process holds it, and the machine it belongs to, if any. */
export interface GuestMachine {
  /** Undefined: only memory, no enclaves. */
  readonly cvm?: Cvm;
  /** Descriptor of guest RAM; offset = guest-physical address. */
  readonly fd: number;
  readonly bytes: number;
  /** Where guest-physical address 0 is in this process. */
  readonly address: number;
  view(gpa: number, length: number): Uint8Array;
  /** Calls back once when the machine ends before it was closed. */
  onLost(callback: () => void): void;
  close(): Promise<void>;
}

/** RAM of a guest without a machine: it boots and runs, and has no enclaves. @throws OsError ENOMEM */
export function plainMachine(bytes: number): GuestMachine {
  const fd = memfdCreate('nsgx-guest-ram', { size: bytes, seal: true });
  const mapping = mapOrClose(fd, bytes);
  return {
    fd,
    bytes,
    address: mapping.address,
    view: (gpa, length) => mapping.view(gpa, length),
    onLost: () => undefined,
    close: async () => {
      mapping.unmap();
      close(fd);
    },
  };
}

/**
 * Launches a machine for one guest and writes what the guest's module has to know.
 * @throws the errors of Cvm.launch, GUEST_REFUSED, GUEST_PROTOCOL, CVM_LOST
 */
export async function launchMachine(bytes: number, launch: LaunchOptions): Promise<GuestMachine> {
  const cvm = await Cvm.launch({ ...launch, ramBytes: bytes, window: WINDOW });
  let share: KernelGuestShare;
  try {
    share = await cvm.attachKernelGuest(VCPUS);
  } catch (error) {
    await cvm.close();
    throw error;
  }
  const { ram, cvmPidfd } = share;
  let mapping: Mapping;
  try {
    mapping = mapOrClose(ram.fd, ram.size);
  } catch (error) {
    close(cvmPidfd);
    await cvm.close();
    throw error;
  }
  writeInfoPage(share, mapping.view(WINDOW.gpa, PAGE));
  let watch: PollHandle | undefined;
  return {
    cvm,
    fd: ram.fd,
    bytes: ram.size,
    address: mapping.address,
    view: (gpa, length) => mapping.view(gpa, length),
    onLost: (callback) => {
      watch = pollReadable(cvmPidfd, () => {
        watch?.stop();
        callback();
      });
      watch.unref();
    },
    close: async () => {
      watch?.close();
      await cvm.close();
      mapping.unmap();
      close(ram.fd);
      close(cvmPidfd);
    },
  };
}

function mapOrClose(fd: number, length: number): Mapping {
  try {
    return mmap({ fd, length, prot: PROT_READ | PROT_WRITE, shared: true });
  } catch (error) {
    close(fd);
    throw error;
  }
}
