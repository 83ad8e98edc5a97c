/** A firmware command that failed. */
import { MachineError } from '../errors.js';
import { pspStatusName } from './status.js';

/** PSP_COMMAND: the firmware refused a command; `status` is its code ({@link PSP_STATUS}). */
export class PspCommandError extends MachineError {
  readonly status: number;

  constructor(command: string, status: number, why: string) {
    super('PSP_COMMAND', `${command} failed with ${pspStatusName(status)}: ${why}`);
    this.status = status;
  }
}
