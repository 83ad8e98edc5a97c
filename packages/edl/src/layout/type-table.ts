/** Finds the layout of every type that an interface names. */
import type {
  EdlComposite,
  EdlEnum,
  EdlFile,
  EdlType,
  EdlTypeDefinition,
  EdlVariable,
} from '../parse/ast.js';
import { typeText } from '../parse/ast.js';
import { EdlError, type Span } from '../parse/source.js';
import {
  alignOf,
  type CMember,
  type CType,
  type Extent,
  StructLayout,
  sizeOf,
  type Target,
} from './ctype.js';
import { BASIC_TYPES, type ForeignType, KNOWN_TYPES } from './foreign-types.js';

const MAX_DEPTH = 64;
const MAX_SIZE = 2 ** 31;
const POINTER: CType = { kind: 'pointer' };

export class TypeTable {
  readonly #definitions = new Map<string, EdlTypeDefinition>();
  readonly #foreign: Readonly<Record<string, ForeignType>>;
  readonly #constants: Map<string, number>;
  readonly #done = new Map<string, CType>();
  #depth = 0;

  constructor(
    file: EdlFile,
    foreign: Readonly<Record<string, ForeignType>>,
    constants: Readonly<Record<string, number>> = {},
  ) {
    this.#foreign = foreign;
    this.#constants = new Map(Object.entries(constants));
    for (const type of file.types)
      if (type.kind === 'enum')
        for (const [name, value] of enumValues(type, this.#constants))
          if (value !== undefined) this.#constants.set(name, value);
    for (const type of file.types) if (type.name !== undefined) this.#definitions.set(type.name, type);
  }

  /** The layout of a type. @throws EDL_TYPE when only a C header knows it, or it contains itself */
  resolve(type: EdlType, span: Span): CType {
    const found = this.find(type, span);
    if (found !== undefined) return found;
    throw new EdlError(
      'EDL_TYPE',
      `the size of '${typeText(type)}' is not known`,
      span,
      `Give '${typeText(type)}' in the option \`types\`: its name there, a struct, a pointer, an array or size and align.`,
    );
  }

  /** As {@link resolve}; nothing for void and for types that are not known. */
  find(type: EdlType, span: Span): CType | undefined {
    if (type.kind === 'pointer') return POINTER;
    if (type.kind === 'basic') return BASIC_TYPES[type.name];
    const key = type.name;
    const cached = `${type.kind} ${key}`;
    const done = this.#done.get(cached);
    if (done !== undefined) return done;
    if (this.#depth >= MAX_DEPTH)
      throw new EdlError(
        'EDL_TYPE',
        `'${typeText(type)}' contains itself, or is nested deeper than ${MAX_DEPTH}`,
        span,
      );
    this.#depth++;
    try {
      const definition = this.#definitions.get(key);
      const found =
        definition !== undefined && (type.kind === 'foreign' || type.kind === definition.kind)
          ? this.#define(definition)
          : this.#named(type.kind === 'foreign' ? key : `${type.kind} ${key}`, key, span);
      if (found !== undefined) {
        if (sizeOf(found) > MAX_SIZE)
          throw new EdlError('EDL_TYPE', `'${typeText(type)}' is too large`, span);
        this.#done.set(cached, found);
      }
      return found;
    } finally {
      this.#depth--;
    }
  }

  /** The number that a name in `size` or `count` stands for, which is no parameter. @throws EDL_TYPE when it is not known */
  constant(key: 'size' | 'count', name: string, span: Span): number {
    const value = this.#constants.get(name);
    if (value !== undefined) return value;
    throw new EdlError(
      'EDL_TYPE',
      `'${key}=${name}' names no parameter, and the value of a macro '${name}' is not known`,
      span,
      `Give the macro's value: --define ${name}=VALUE, or '${name}' in the option \`constants\`.`,
    );
  }

  /** The type of a member or variable with its dimensions. */
  variable({ type, dimensions, span }: EdlVariable): CType {
    return dimensions.reduceRight<CType>(
      (element, count) => ({ kind: 'array', element, count }),
      this.resolve(type, span),
    );
  }

  /** What a pointer with size or count points to. `strict`: lengths must be multiples although it is a structure. */
  target(
    to: EdlType,
    size: Extent | undefined,
    count: Extent | undefined,
    strict: boolean,
    span: Span,
  ): Target {
    const element = this.find(to, span);
    const unit = size ?? sizeOf(element ?? this.resolve(to, span));
    const checked = element !== undefined && to.kind !== 'foreign' && (to.kind !== 'struct' || strict);
    return { element, unit, count: count ?? 1, multiple: checked ? sizeOf(element) : 1 };
  }

  #define(definition: EdlTypeDefinition): CType {
    if (definition.kind === 'enum') {
      const values = enumValues(definition, this.#constants);
      const wide = [...values.values()].some((value) => value !== undefined && value > 0xffffffff);
      return { kind: 'integer', size: wide ? 8 : 4, signed: false };
    }
    return definition.kind === 'struct' ? this.#struct(definition) : this.#union(definition);
  }

  #struct({ name, members }: EdlComposite): CType {
    const layout = new StructLayout();
    const placed = members.map((member): CMember => {
      const type = this.variable(member);
      return { name: member.name, offset: layout.add(type), type };
    });
    const flat: CType = { kind: 'struct', name, size: layout.size, align: layout.align, members: placed };
    // A deep copy goes one level down, and may point to the structure that it is in.
    for (const key of [`struct ${name}`, `foreign ${name}`]) this.#done.set(key, flat);
    const deeper = placed.map((member, i): CMember => {
      const { type, attributes: a, span } = members[i];
      if (a === undefined || type.kind !== 'pointer') return member;
      const target = this.target(type.to, a.size, a.count, false, span);
      return { ...member, deep: { ...target, element: target.element && shallow(target.element) } };
    });
    return { ...flat, members: deeper };
  }

  #union({ name, members }: EdlComposite): CType {
    const types = members.map((member) => this.variable(member));
    const align = Math.max(...types.map(alignOf));
    const size = Math.ceil(Math.max(...types.map(sizeOf)) / align) * align;
    return { kind: 'bytes', name, size, align };
  }

  #named(full: string, short: string, span: Span): CType | undefined {
    for (const name of new Set([full, short])) {
      if (Object.hasOwn(this.#foreign, name)) return this.#convert(this.#foreign[name], name, span, 0);
      if (Object.hasOwn(KNOWN_TYPES, name)) return KNOWN_TYPES[name];
    }
    return undefined;
  }

  #convert(type: ForeignType, name: string, span: Span, depth: number): CType {
    if (depth >= MAX_DEPTH)
      throw new EdlError('EDL_TYPE', `'${name}' is nested deeper than ${MAX_DEPTH}`, span);
    if (typeof type === 'string') {
      if (Object.hasOwn(BASIC_TYPES, type)) return BASIC_TYPES[type];
      const found = type === name ? KNOWN_TYPES[type] : this.find({ kind: 'foreign', name: type }, span);
      if (found !== undefined) return found;
      throw new EdlError('EDL_TYPE', `'${name}' is given as '${type}', which is not known`, span);
    }
    if ('pointer' in type)
      return {
        kind: 'pointer',
        to: type.pointer === null ? undefined : this.#convert(type.pointer, name, span, depth + 1),
      };
    if ('array' in type) {
      if (!Number.isInteger(type.count) || type.count < 1 || type.count > MAX_SIZE)
        throw new EdlError('EDL_TYPE', `'${name}' is given as an array of ${type.count} elements`, span);
      return { kind: 'array', element: this.#convert(type.array, name, span, depth + 1), count: type.count };
    }
    if ('struct' in type) {
      const layout = new StructLayout();
      const members = Object.entries(type.struct).map(([member, of]): CMember => {
        const converted = this.#convert(of, name, span, depth + 1);
        return { name: member, offset: layout.add(converted), type: converted };
      });
      return { kind: 'struct', name, size: layout.size, align: layout.align, members };
    }
    const { size, align } = type;
    const power = [1, 2, 4, 8, 16, 32, 64].includes(align);
    if (!power || !Number.isInteger(size) || size < 1 || size > MAX_SIZE || size % align !== 0)
      throw new EdlError('EDL_TYPE', `'${name}' is given size ${size} and alignment ${align}`, span);
    return { kind: 'bytes', name, size, align };
  }
}

/** Values of an enum's constants; nothing for those that depend on what is not known. */
function enumValues(
  { constants }: EdlEnum,
  known: ReadonlyMap<string, number>,
): Map<string, number | undefined> {
  const values = new Map<string, number | undefined>();
  let next: number | undefined = 0;
  for (const { name, value } of constants) {
    const named: string | undefined = typeof value === 'string' ? value : undefined;
    const own: number | undefined =
      named === undefined ? ((value as number | undefined) ?? next) : (values.get(named) ?? known.get(named));
    values.set(name, own);
    next = own === undefined ? undefined : own + 1;
  }
  return values;
}

function shallow(type: CType): CType {
  if (type.kind !== 'struct') return type;
  return { ...type, members: type.members.map(({ name, offset, type: of }) => ({ name, offset, type: of })) };
}
