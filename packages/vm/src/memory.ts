/** The memory file that is a guest's RAM, mapped in this process. */
import { close, type Mapping, memfdCreate, mmap, PROT_READ, PROT_WRITE } from '@nestedsgx/os';

/** Guest RAM as this process holds it. */
export interface GuestRam {
  /** Descriptor of the file; offset = guest-physical address. */
  readonly fd: number;
  readonly bytes: number;
  /** Where guest-physical address 0 is in this process. */
  readonly address: number;
  view(gpa: number, length: number): Uint8Array;
  close(): void;
}

/** RAM of a guest without a monitor: it boots and runs, and has no enclaves. @throws OsError ENOMEM */
export function plainRam(bytes: number): GuestRam {
  const fd = memfdCreate('nsgx-guest-ram', { size: bytes, seal: true });
  let mapping: Mapping;
  try {
    mapping = mmap({ fd, length: bytes, prot: PROT_READ | PROT_WRITE, shared: true });
  } catch (error) {
    close(fd);
    throw error;
  }
  return {
    fd,
    bytes,
    address: mapping.address,
    view: (gpa, length) => mapping.view(gpa, length),
    close: () => {
      mapping.unmap();
      close(fd);
    },
  };
}
