/** Where the store is in the tree, if the image has one. */
import { Inode } from './inode';

export let storeFolder: Inode | null = null;
/** 1: only this image reads it; 2: images of the same signer and product with this or a higher version. */
export let storePolicyValue: u32 = 0;

export function setStore(folder: Inode, policy: u32): void {
  storeFolder = folder;
  storePolicyValue = policy;
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
