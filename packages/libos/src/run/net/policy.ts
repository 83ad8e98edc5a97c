/** Which sockets of the host a program may have. */
import { constants } from 'node:os';

/** `none`: no sockets of the host; `loopback`: addresses of this machine's loopback only; `all`: as any program. */
export type NetMode = 'none' | 'loopback' | 'all';

/** Modes by name, for command lines. */
export const NET_MODES: readonly NetMode[] = Object.freeze(['none', 'loopback', 'all']);

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOL_SOCKET = 1;
const IPPROTO_TCP = 6;
const IPPROTO_UDP = 17;
const IPPROTO_IP = 0;
const IPPROTO_IPV6 = 41;
/** SO_MARK, SO_BINDTODEVICE, SO_ATTACH_FILTER … SO_DETACH_FILTER, SO_PRIORITY are the host's business. */
const REFUSED_SOCKET_OPTIONS: ReadonlySet<number> = new Set([12, 25, 26, 27, 36, 50, 51, 52, 62]);
/** Those of IP and IPv6 that change how a socket's own packets look: TOS, TTL, MTU discovery, RECVERR, V6ONLY, TCLASS, hops. */
const IP_OPTIONS: ReadonlySet<number> = new Set([1, 2, 8, 10, 11, 12, 13, 15, 24]);
const IPV6_OPTIONS: ReadonlySet<number> = new Set([16, 23, 24, 25, 26, 49, 66, 67]);

/** SO_REUSEADDR, TYPE, ERROR, SNDBUF, RCVBUF, KEEPALIVE, LINGER; TCP_NODELAY, CORK, KEEPIDLE, KEEPINTVL, KEEPCNT, INFO, QUICKACK. */
const COMMON_OPTIONS: readonly (readonly [number, number])[] = [
  ...[2, 3, 4, 7, 8, 9, 13].map((name) => [SOL_SOCKET, name] as const),
  ...[1, 3, 4, 5, 6, 11, 12].map((name) => [IPPROTO_TCP, name] as const),
];

const { EACCES, EAFNOSUPPORT, EINVAL, ENOPROTOOPT, EPROTONOSUPPORT } = constants.errno;

/** Whether an address (struct sockaddr_in or sockaddr_in6) is one of the loopback. */
export function isLoopback(address: Uint8Array): boolean {
  const family = address.length >= 2 ? address[0] | (address[1] << 8) : 0;
  if (family === AF_INET) return address.length >= 8 && address[4] === 127;
  if (family !== AF_INET6 || address.length < 24) return false;
  const ip = address.subarray(8, 24);
  const zeros = ip.subarray(0, 10).every((byte) => byte === 0);
  if (zeros && ip[10] === 0xff && ip[11] === 0xff) return ip[12] === 127;
  return zeros && ip.subarray(10, 15).every((byte) => byte === 0) && ip[15] === 1;
}

/** Each method gives 0, or the errno with which the program's call is refused. */
export class NetPolicy {
  constructor(readonly mode: NetMode) {}

  socket(domain: number, type: number, protocol: number): number {
    if (this.mode === 'none' || (domain !== AF_INET && domain !== AF_INET6)) return EAFNOSUPPORT;
    if (type === SOCK_STREAM) return protocol === 0 || protocol === IPPROTO_TCP ? 0 : EPROTONOSUPPORT;
    if (type === SOCK_DGRAM) return protocol === 0 || protocol === IPPROTO_UDP ? 0 : EPROTONOSUPPORT;
    return EPROTONOSUPPORT;
  }

  /** For bind and connect; AF_UNSPEC ends a connection of datagrams. */
  address(address: Uint8Array): number {
    const family = address.length >= 2 ? address[0] | (address[1] << 8) : -1;
    if (family === -1) return EINVAL;
    if (family === 0) return 0;
    if (family !== AF_INET && family !== AF_INET6) return EAFNOSUPPORT;
    return this.mode === 'all' || isLoopback(address) ? 0 : EACCES;
  }

  /** Options that servers set and ask for each connection, as far as they are allowed: native-host need not ask for them. */
  common(): readonly (readonly [number, number])[] {
    return COMMON_OPTIONS.filter(([level, name]) => this.option(level, name) === 0);
  }

  option(level: number, name: number): number {
    if (level === SOL_SOCKET) return REFUSED_SOCKET_OPTIONS.has(name) ? ENOPROTOOPT : 0;
    // TCP_ULP and TCP_REPAIR* change what the socket is.
    if (level === IPPROTO_TCP) return name === 31 || (name >= 19 && name <= 22) ? ENOPROTOOPT : 0;
    if (level === IPPROTO_IP) return IP_OPTIONS.has(name) ? 0 : ENOPROTOOPT;
    if (level === IPPROTO_IPV6) return IPV6_OPTIONS.has(name) ? 0 : ENOPROTOOPT;
    return ENOPROTOOPT;
  }
}
