/**
 * A second, simple model of the RMP and of what becomes of page contents, written page by page without looking
 * at speed: every 4 KiB page is an object, a 2 MiB entry is 512 objects that say so. It exists to disagree with
 * the real table when one of them is wrong.
 */

export interface ModelPage {
  assigned: boolean;
  validated: boolean;
  immutable: boolean;
  vmsa: boolean;
  large: boolean;
  remapped: boolean;
  asid: number;
  perms: number[];
  /** Tag of the content that the page's owner sees; 0 is zeros. */
  content: number;
  /** What VMPL1 finds at the address when the page is not its own. */
  hole: number;
}

const GROUP = 512;
export type Fault = 'covered' | 'owned' | 'reverse' | 'mutable' | 'size' | 'vc' | 'vmpl' | 'gp';

export class ReferenceRmp {
  readonly pages: ModelPage[];

  constructor(count: number) {
    this.pages = Array.from({ length: count }, () => ({
      assigned: true,
      validated: true,
      immutable: false,
      vmsa: false,
      large: true,
      remapped: false,
      asid: 1,
      perms: [15, 15, 0, 0],
      content: 0,
      hole: 0,
    }));
  }

  visible(i: number): boolean {
    const p = this.pages[i];
    if (!p.assigned) return true;
    return p.validated && !p.immutable && !p.vmsa && !p.remapped && p.asid === 1 && (p.perms[1] & 3) === 3;
  }

  /** Applies a change to pages and moves contents as a machine must. */
  #change(first: number, count: number, scrub: boolean, apply: (p: ModelPage, i: number) => void): void {
    for (let i = first; i < first + count; i++) {
      const before = this.visible(i);
      apply(this.pages[i], i);
      const p = this.pages[i];
      if (scrub || (!before && this.visible(i))) {
        p.content = 0;
        p.hole = 0;
      } else if (before && !this.visible(i)) p.hole = 0;
    }
  }

  write(i: number, tag: number, byHost: boolean): void {
    if (byHost && !this.visible(i)) this.pages[i].hole = tag;
    else this.pages[i].content = tag;
  }

  /** What VMPL1 reads with its own mapping. */
  hostSees(i: number): number {
    return this.visible(i) ? this.pages[i].content : this.pages[i].hole;
  }

  #translate(i: number): Fault | undefined {
    const p = this.pages[i];
    if (p === undefined) return 'covered';
    if (!p.assigned || p.asid !== 1) return 'owned';
    if (p.remapped) return 'reverse';
    return p.immutable ? 'mutable' : undefined;
  }

  rmpadjust(
    caller: number,
    i: number,
    size: number,
    target: number,
    perms: number,
    vmsa: boolean,
  ): number | Fault {
    if (size === 1 && i % GROUP !== 0) return 1;
    if (perms > 15 || target > 3 || (vmsa && size === 1)) return 1;
    if (target <= caller) return 2;
    const fault = this.#translate(i);
    if (fault) return fault;
    const p = this.pages[i];
    if (size === 0 && p.large) return 'size';
    if (size === 1 && !p.large) return 6;
    if (!p.validated) return 'vc';
    if ((p.perms[caller] & 1) === 0) return 'vmpl';
    if (caller !== 0 && vmsa !== p.vmsa) return 2;
    if ((perms & ~p.perms[caller]) !== 0) return 2;
    this.#change(i, size === 1 ? GROUP : 1, false, (q) => {
      q.perms[target] = perms;
      if (caller === 0) q.vmsa = vmsa;
    });
    return 0;
  }

  pvalidate(caller: number, i: number, size: number, on: boolean): number | Fault | 'carry' {
    if (caller !== 0) return 'gp';
    if (size === 1 && i % GROUP !== 0) return 1;
    const fault = this.#translate(i);
    if (fault) return fault;
    const p = this.pages[i];
    if (size === 0 && p.large) return 'size';
    if (size === 1 && !p.large) return 6;
    if (p.validated === on) return 'carry';
    this.#change(i, size === 1 ? GROUP : 1, false, (q) => {
      q.validated = on;
    });
    return 0;
  }

  rmpupdate(
    i: number,
    size: number,
    assigned: boolean,
    asid: number,
    immutable: boolean,
    gpaPage: number,
  ): number {
    const p = this.pages[i];
    if ((size === 1 && (i % GROUP !== 0 || gpaPage % GROUP !== 0)) || p === undefined) return 1;
    if (assigned ? asid === 0 && !immutable : asid !== 0) return 1;
    const group = this.pages.slice(i - (i % GROUP), i - (i % GROUP) + GROUP);
    const under = size === 1 ? group : [p];
    if (under.some((q) => q.immutable)) return 2;
    if (size === 0 && p.large && p.assigned && i % GROUP !== 0) return 4;
    if (size === 1 && !p.large && group.slice(1).some((q) => q.assigned)) return 4;
    const next = (q: ModelPage, j: number) => {
      q.assigned = assigned;
      q.validated = false;
      q.immutable = immutable;
      q.vmsa = false;
      q.large = size === 1;
      q.asid = asid;
      q.perms = [assigned ? 15 : 0, 0, 0, 0];
      q.remapped = assigned && gpaPage + (j - i) !== j;
    };
    if (size === 0 && p.large) {
      const first = i - (i % GROUP);
      const wasAssigned = p.assigned;
      this.#change(first, GROUP, wasAssigned, (q, j) => {
        if (j !== i) {
          Object.assign(q, {
            assigned: false,
            validated: false,
            immutable: false,
            vmsa: false,
            large: false,
            asid: 0,
          });
          q.perms = [0, 0, 0, 0];
          q.remapped = false;
        }
      });
    }
    this.#change(i, size === 1 ? GROUP : 1, true, next);
    return 0;
  }

  psmash(i: number): number {
    if (i % GROUP !== 0 || this.pages[i] === undefined) return 1;
    const p = this.pages[i];
    if (!p.large || !p.assigned || p.immutable) return 7;
    for (let j = i; j < i + GROUP; j++) this.pages[j].large = false;
    return 0;
  }

  check(vmpl: number, i: number, access: 'r' | 'w' | 'x'): Fault | undefined {
    const p = this.pages[i];
    if (p === undefined) return 'covered';
    if (!p.assigned && access !== 'x') return undefined;
    const fault = this.#translate(i);
    if (fault) return fault;
    if (!p.validated) return 'vc';
    const need = access === 'r' ? 1 : access === 'w' ? 3 : 4;
    return (p.perms[vmpl] & need) === need ? undefined : 'vmpl';
  }
}
