/** The threads between a guest and the monitor's side: kicks one way, interrupts the other. */
import { systemError } from '@nestedsgx/os';
import { vmLibrary } from './native.js';

/** What a relay has done so far. */
export interface RelayCounters {
  kicks: number;
  wakes: number;
  interrupts: number;
}

/** A running relay. */
export class Relay {
  #handle: number;

  /**
   * Starts the threads; they end when QEMU closes its ends of the sockets, and with `close`.
   * @param place addresses in this process: the window, its length in bytes, the relay page; all mapped until `close`
   * @param kick socket that a byte comes from for each kick; taken over
   * @param irq socket that takes a byte for each interrupt; taken over
   * @throws OsError EAGAIN, ENOMEM
   */
  constructor(place: { window: number; bytes: number; page: number }, kick: number, irq: number) {
    const result: number = vmLibrary().relayStart(place.window, place.bytes, place.page, kick, irq);
    if (result < 0) throw systemError(-result, 'pthread_create', 'relay of a guest');
    this.#handle = result;
  }

  get counters(): RelayCounters {
    const out = new BigUint64Array(3);
    if (this.#handle !== 0) vmLibrary().relayCounters(this.#handle, out);
    return { kicks: Number(out[0]), wakes: Number(out[1]), interrupts: Number(out[2]) };
  }

  /** Ends the threads and closes the sockets. Harmless when repeated. */
  close(): void {
    if (this.#handle === 0) return;
    vmLibrary().relayStop(this.#handle);
    this.#handle = 0;
  }
}
