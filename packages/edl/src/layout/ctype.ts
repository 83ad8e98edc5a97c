/** C types with their layout on x86-64 (System V ABI), as gcc lays them out. Plain data: a description can be JSON. */

/** A number of bytes or elements, or the name of the parameter or member beside it that holds the number. */
export type Extent = number | string;

/** What a pointer points to: `unit` × `count` bytes. */
export interface Target {
  /** Type of one element; missing when it is void or not known, then the bytes are what they are. */
  readonly element?: CType;
  readonly unit: Extent;
  readonly count: Extent;
  /** The length must be a multiple of this; 1 for no rule. */
  readonly multiple: number;
}

export interface CMember {
  readonly name: string;
  readonly offset: number;
  readonly type: CType;
  /** What the pointer points to, when passing a pointer to the structure copies that as well. */
  readonly deep?: Target;
}

export type CType =
  | { readonly kind: 'integer'; readonly size: 1 | 2 | 4 | 8; readonly signed: boolean }
  | { readonly kind: 'boolean' }
  | { readonly kind: 'float'; readonly size: 4 | 8 | 16 }
  /** An address that is passed as it is; `to` is what a pointer type of a C header points to, if known. */
  | { readonly kind: 'pointer'; readonly to?: CType }
  | { readonly kind: 'array'; readonly element: CType; readonly count: number }
  | {
      readonly kind: 'struct';
      readonly name: string;
      readonly size: number;
      readonly align: number;
      readonly members: readonly CMember[];
    }
  /** Unions, and types of which only size and alignment are known: bytes. */
  | { readonly kind: 'bytes'; readonly name: string; readonly size: number; readonly align: number };

/** Size in bytes, as `sizeof` gives it. */
export function sizeOf(type: CType): number {
  switch (type.kind) {
    case 'boolean':
      return 1;
    case 'pointer':
      return 8;
    case 'array':
      return sizeOf(type.element) * type.count;
    default:
      return type.size;
  }
}

/** Alignment in bytes, as `_Alignof` gives it. */
export function alignOf(type: CType): number {
  switch (type.kind) {
    case 'array':
      return alignOf(type.element);
    case 'struct':
    case 'bytes':
      return type.align;
    default:
      return sizeOf(type);
  }
}

/** Places fields one after the other, each at its alignment. */
export class StructLayout {
  #end = 0;
  #align = 1;

  /** Adds a field and gives its offset. */
  add(type: CType): number {
    const align = alignOf(type);
    const offset = Math.ceil(this.#end / align) * align;
    this.#end = offset + sizeOf(type);
    this.#align = Math.max(this.#align, align);
    return offset;
  }

  /** Size with the padding at the end. */
  get size(): number {
    return Math.ceil(this.#end / this.#align) * this.#align;
  }

  get align(): number {
    return this.#align;
  }
}
