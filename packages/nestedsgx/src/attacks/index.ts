/** The adversary suite: what a hostile guest can try, tried for real, with what was observed. */
export {
  ATTACK_GROUPS,
  type Attack,
  type AttackGroup,
  type AttackResult,
  type Finding,
  type Role,
} from './attack.js';
export { type Cast, castFor, type Person } from './people.js';
export type { MachineOptions } from './stage/machine.js';
export { type AttackOptions, attacksNamed, runAttacks } from './suite.js';
export { attackTable, longAttacks, tourAttacks } from './table.js';
export { allGuestAttacks, guestAttacksNamed, runGuestAttacks } from './vm/guest-suite.js';
