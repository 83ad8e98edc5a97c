/** What the host answered to the wait of the call that is made again; -1 in a call that has not waited. */
export let waitResult: i64 = -1;
export function setWaitResult(value: i64): void {
  waitResult = value;
}
