/** As whom the machine runs and as whom it is attacked. */

/** An account. `label` is how reports print it. */
export interface Person {
  readonly uid: number;
  readonly gid: number;
  readonly label: string;
}

/**
 * Who plays what. `cvm` is null when the machine runs as the caller itself. `guest` plays the guest operating system:
 * it holds guest RAM and may attach. `processes` are those who attack at the level of processes, each in turn: where
 * only the machine's own user could have a chance, that user is among them.
 */
export interface Cast {
  readonly isolation: 'same-user' | 'separate-user';
  readonly cvm: Person | null;
  readonly own: Person;
  readonly guest: Person;
  readonly processes: readonly Person[];
}

/** Accounts without a name or files, used only when the suite is started by root. */
const CVM_UID = 64_901;
const ATTACKER_UID = 64_902;

/**
 * The cast for the calling user. As root, the machine gets an account of its own and the attackers another one, without
 * capabilities; otherwise all are the caller, the strongest attacker that an ordinary user can be.
 */
export function castFor(uid = process.getuid?.() ?? 0, gid = process.getgid?.() ?? 0): Cast {
  if (uid !== 0) {
    const own = { uid, gid, label: `user ${uid}, the machine's own` };
    return { isolation: 'same-user', cvm: null, own, guest: own, processes: [own] };
  }
  const own = { uid: CVM_UID, gid: CVM_UID, label: `user ${CVM_UID}, the machine's own` };
  const other = {
    uid: ATTACKER_UID,
    gid: ATTACKER_UID,
    label: `user ${ATTACKER_UID}, not the machine's (${CVM_UID})`,
  };
  return { isolation: 'separate-user', cvm: own, own, guest: other, processes: [other, own] };
}
