/** What `nsgx exec` and `nsgx image build` are told of stores and their keys. */
import { resolve } from 'node:path';
import type { Provision, StoreKey } from '@nestedsgx/libos/run';
import { type Command, Option } from 'commander';
import { carrier } from '../keyserver/carrier.js';
import { UsageError } from './terminal.js';

/** Options of the key, which is measured. */
export interface StoreKeyOptions {
  store?: string;
  storeKey?: 'mrenclave' | 'mrsigner' | 'provisioned';
  keyServer?: string;
  keyName?: string;
}

/** Options of a run. */
export interface StoreRunOptions extends StoreKeyOptions {
  storeVersion?: string;
  provision?: string;
}

/** Adds the options of the key to a command. */
export function withStoreKey(command: Command): Command {
  return command
    .addOption(
      new Option('--store-key <who>', 'who can read the store (default: mrenclave)').choices([
        'mrenclave',
        'mrsigner',
        'provisioned',
      ]),
    )
    .option(
      '--key-server <key>',
      'with --store-key provisioned: public key of the key server that gives the key',
    )
    .option('--key-name <name>', 'with --store-key provisioned: the name that the key has there');
}

/** Whose key the store is to have. @throws UsageError for options that do not go together */
export function storeKeyOf(options: StoreKeyOptions): StoreKey | undefined {
  const { store, storeKey, keyServer, keyName } = options;
  if (store === undefined && storeKey !== undefined)
    throw new UsageError('--store-key says something of --store, which is not given');
  if (storeKey !== 'provisioned') {
    if (keyServer !== undefined || keyName !== undefined)
      throw new UsageError('--key-server and --key-name belong to --store-key provisioned');
    return storeKey;
  }
  if (keyServer === undefined || keyName === undefined)
    throw new UsageError(
      '--store-key provisioned wants --key-server, which nsgx keyserver --master FILE prints, and --key-name',
    );
  return { provisioned: keyName, server: keyServer };
}

/** The folder of this machine, the one inside, and the commit that is asked for. @throws UsageError */
export function storeOf(
  options: StoreRunOptions,
): { path: string; inside?: string; version?: bigint } | undefined {
  const { store, storeVersion } = options;
  if (store === undefined) {
    if (storeVersion === undefined && options.storeKey === undefined && options.provision === undefined)
      return undefined;
    throw new UsageError(
      '--store-version, --store-key and --provision say something of --store, which is not given',
    );
  }
  const [, outside, inside] = /^(.+?)(?::(\/.*))?$/.exec(store) ?? [];
  if (outside === undefined) throw new UsageError('--store takes a folder, or DIR:/PATH');
  if (storeVersion !== undefined && !/^\d{1,18}$/.test(storeVersion))
    throw new UsageError(`--store-version is a number, not "${storeVersion}"`);
  return {
    path: resolve(outside),
    inside,
    version: storeVersion === undefined ? undefined : BigInt(storeVersion),
  };
}

/** `HOST:PORT`, `[IPv6]:PORT`. @throws UsageError */
export function parseAddress(text: string, option: string): { host: string; port: number } {
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  if (digits === undefined || port > 65535) throw new UsageError(`${option} takes HOST:PORT, not "${text}"`);
  return { host: bracketed ?? plain!, port };
}

/** Who carries messages to the key server: what the command line names, or else the image. @throws UsageError */
export function provisionOf(given: string | undefined, image?: string): Provision | undefined {
  const address = given ?? image;
  if (address === undefined) return undefined;
  const { host, port } = parseAddress(
    address,
    given === undefined ? "the image's key server" : '--provision',
  );
  return carrier(host, port);
}
