/** What the host answered to the wait of the call that is made again; -1 in a call that has not waited. */
import { current } from './task/thread';

@inline export function waitResult(): i64 {
  return current.waitResult;
}
