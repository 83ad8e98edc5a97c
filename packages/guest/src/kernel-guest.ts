/** A machine's one guest when that has a kernel of its own: it gets the memory file itself, and all vCPUs beforehand. */
import { close, fstatSize } from '@nestedsgx/os';
import { readAttachReply, readVcpu } from './connection.js';
import { type ControlSocket, object } from './control.js';
import { guestError } from './errors.js';

/** What a guest with a kernel of its own gets of its machine. Addresses are guest-physical, lengths in bytes. */
export interface KernelGuestShare {
  /** Descriptor of guest RAM, and where guest-physical address 0 is in runners. The receiver closes it. */
  ram: { fd: number; base: number; size: number };
  doorbell: number;
  /** GHCB page of the first vCPU; the others follow at `stride`, each calling area a page behind its GHCB page. */
  vcpus: { gpa: number; count: number; stride: number };
  slice: { gpa: number; length: number };
  epc: { first: number; count: number };
  /** Readable when the machine ends. The receiver closes it. */
  cvmPidfd: number;
}

const PAGE = 4096;

/**
 * Attaches over a control socket, which must stay open as long as the guest runs: the machine takes everything back with it.
 * @throws GUEST_REFUSED, GUEST_PROTOCOL, GUEST_TIMEOUT, CVM_LOST
 */
export async function attachKernelGuest(control: ControlSocket, vcpus: number): Promise<KernelGuestShare> {
  const { body, fds } = await control.request({ op: 'attach', slice: 0, epc: 0 });
  try {
    if (fds.length !== 2)
      throw guestError('GUEST_PROTOCOL', `the attach reply carries ${fds.length} descriptors instead of 2`);
    const reply = readAttachReply(body);
    if (fstatSize(fds[0]) < reply.ram.size)
      throw guestError('GUEST_PROTOCOL', `guest RAM is shorter than the ${reply.ram.size} bytes announced`);
    const places = [...reply.vcpus];
    while (places.length < vcpus) {
      const more = await control.request({ op: 'vcpu' });
      places.push(readVcpu(object(more.body.vcpu, 'vcpu'), reply.ram.size));
    }
    places.sort((a, b) => a.ghcb - b.ghcb);
    const stride = places.length > 1 ? places[1].ghcb - places[0].ghcb : 2 * PAGE;
    if (places.some(({ ghcb, caa }, n) => ghcb !== places[0].ghcb + n * stride || caa !== ghcb + PAGE))
      throw guestError('GUEST_PROTOCOL', 'the vCPUs of the reply do not lie at equal distances');
    return {
      ram: { fd: fds[0], ...reply.ram },
      doorbell: reply.doorbell,
      vcpus: { gpa: places[0].ghcb, count: places.length, stride },
      slice: reply.slice,
      epc: reply.epc,
      cvmPidfd: fds[1],
    };
  } catch (error) {
    for (const fd of fds) close(fd);
    throw error;
  }
}
