/** Descriptors of the host whose last user inside has gone: they are closed behind the call (core/net/host.ts). */
export const closing = new Array<i32>();

export function closeLater(fd: i32): void {
  closing.push(fd);
}
