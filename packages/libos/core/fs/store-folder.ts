/** Where the store is in the tree, if the image has one. */
import { Inode } from './inode';

export let storeFolder: Inode | null = null;
/** 1: only this image reads it; 2: images of the same signer and product with this or a higher version; 3: whom a key server gives the key. */
export let storePolicyValue: u32 = 0;
/** Of policy 3: the key server's point and the name of the key, as measured. */
export let storeKeySource: usize = 0;
export let storeKeySourceBytes: u32 = 0;

export function setStore(folder: Inode, policy: u32, source: usize, bytes: u32): void {
  storeFolder = folder;
  storePolicyValue = policy;
  storeKeySource = source;
  storeKeySourceBytes = bytes;
}

/** How often names below it have changed. */
export let namesOfStore: u64 = 1;

/** A folder has got a name, or lost one; or a file is gone. */
export function namesChanged(inode: Inode): void {
  if (inode.stored !== null) namesOfStore++;
}

/** Whether it is mounted. */
export function isStored(): bool {
  return storeFolder !== null && storeFolder!.stored !== null;
}
