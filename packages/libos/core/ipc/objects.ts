/** System V IPC (ipc(2)): what segments, semaphores and queues have in common. They are the enclave's own, and go with it. */
import { EEXIST, ENOENT } from '../errno';
import { now } from '../shim';

export const IPC_CREAT: u32 = 0o1000;
export const IPC_EXCL: u32 = 0o2000;
export const IPC_NOWAIT: u32 = 0o4000;
export const IPC_RMID: u32 = 0;
export const IPC_SET: u32 = 1;
export const IPC_STAT: u32 = 2;
const IPC_64: u32 = 0x100;
const NANO: u64 = 1_000_000_000;

export class IpcObject {
  changed: u64 = seconds();
  removed: bool = false;
  constructor(
    public id: i32,
    public key: i32,
    public mode: u32,
  ) {}

  /** struct ipc64_perm at `at`, which is zero. */
  describe(at: usize): void {
    store<i32>(at, this.key);
    store<u32>(at, this.mode, 20);
    store<u16>(at, <u16>(this.id >> 15), 24);
  }
}

export function seconds(): u64 {
  return now(0) / NANO;
}

/** What a command asks for, without the mark that C libraries give it. */
export function commandOf(command: u64): u32 {
  return <u32>command & ~IPC_64;
}

/** Objects of one kind. */
export class IpcTable<T extends IpcObject> {
  objects: Array<T> = new Array<T>();
  private latest: i32 = 0;

  /** Numbers are not used again soon. */
  nextId(): i32 {
    return this.latest++ & 0x7fff_ffff;
  }

  byId(id: u64): T | null {
    for (let i = 0; i < this.objects.length; i++) if (this.objects[i].id === <i32>id) return this.objects[i];
    return null;
  }

  byKey(key: u64): T | null {
    if (<i32>key === 0) return null;
    for (let i = 0; i < this.objects.length; i++)
      if (this.objects[i].key === <i32>key && !this.objects[i].removed) return this.objects[i];
    return null;
  }

  /** Why a key cannot be had with these flags when there is such an object, or none; 0 when it can. */
  refuse(there: bool, key: u64, flags: u64): i64 {
    if (there) return (<u32>flags & (IPC_CREAT | IPC_EXCL)) === (IPC_CREAT | IPC_EXCL) ? EEXIST : 0;
    return <i32>key !== 0 && (<u32>flags & IPC_CREAT) === 0 ? ENOENT : 0;
  }

  drop(object: T): void {
    object.removed = true;
    const at = this.objects.indexOf(object);
    if (at >= 0) this.objects.splice(at, 1);
  }
}
