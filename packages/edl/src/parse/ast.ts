/** What an EDL file declares. */
import type { Span } from './source.js';

/** Types with a size of their own, by the name that C gives them on x86-64 Linux. */
export type EdlBasicName =
  | 'char'
  | 'unsigned char'
  | 'short int'
  | 'unsigned short int'
  | 'int'
  | 'unsigned int'
  | 'long int'
  | 'unsigned long int'
  | 'long long'
  | 'unsigned long long'
  | 'float'
  | 'double'
  | 'long double'
  | `${'' | 'u'}int${8 | 16 | 32 | 64}_t`
  | 'size_t'
  | 'wchar_t'
  | 'void';

/** A type as it is written. `foreign` is a name that a C header (or a structure of the file) defines. */
export type EdlType =
  | { readonly kind: 'basic'; readonly name: EdlBasicName }
  | { readonly kind: 'struct' | 'union' | 'enum' | 'foreign'; readonly name: string }
  | { readonly kind: 'pointer'; readonly to: EdlType };

/**
 * The value of `size=` or `count=`: a number of bytes or elements, or the name of a parameter or member; in OCALLs also
 * of a constant that C knows.
 */
export type EdlExtent = number | string;

/** Attributes of a pointer, an array or a member. */
export interface EdlAttributes {
  readonly direction?: 'in' | 'out' | 'inout';
  readonly size?: EdlExtent;
  readonly count?: EdlExtent;
  readonly string: boolean;
  readonly wstring: boolean;
  readonly isptr: boolean;
  readonly isary: boolean;
  readonly readonly: boolean;
  readonly userCheck: boolean;
}

/** A parameter or member. `attributes` are present exactly on what is passed by address. */
export interface EdlVariable {
  readonly name: string;
  readonly type: EdlType;
  /** Dimensions of an array; empty otherwise. */
  readonly dimensions: readonly number[];
  readonly attributes?: EdlAttributes;
  /** An attribute that the language no longer has, where such are let through: how it is passed is then not known. */
  readonly removed?: { readonly name: string; readonly span: Span };
  readonly span: Span;
}

export interface EdlComposite {
  readonly kind: 'struct' | 'union';
  readonly name: string;
  readonly members: readonly EdlVariable[];
  readonly span: Span;
}

export interface EdlEnum {
  readonly kind: 'enum';
  /** Missing when anonymous. */
  readonly name?: string;
  readonly constants: readonly { readonly name: string; readonly value?: EdlExtent; readonly span: Span }[];
  readonly span: Span;
}

export type EdlTypeDefinition = EdlComposite | EdlEnum;

interface EdlFunctionBase {
  readonly name: string;
  readonly returns: EdlType;
  readonly parameters: readonly EdlVariable[];
  /** `transition_using_threads`. */
  readonly switchless: boolean;
  readonly span: Span;
}

/** An ECALL; a private one is only for OCALLs that allow it. */
export interface EdlTrustedFunction extends EdlFunctionBase {
  readonly kind: 'trusted';
  readonly isPublic: boolean;
}

/** An OCALL. */
export interface EdlUntrustedFunction extends EdlFunctionBase {
  readonly kind: 'untrusted';
  readonly allow: readonly { readonly name: string; readonly span: Span }[];
  readonly propagateErrno: boolean;
  readonly convention?: 'cdecl' | 'stdcall' | 'fastcall';
  readonly dllimport: boolean;
}

export interface EdlImport {
  readonly path: string;
  /** Missing for `import *`. */
  readonly names?: readonly { readonly name: string; readonly span: Span }[];
  readonly span: Span;
}

/** One file, or a file with all that it imports (then without imports). */
export interface EdlFile {
  readonly file: string;
  /** The file's name without folder and extension. */
  readonly name: string;
  readonly includes: readonly string[];
  /** Headers of `trusted {}` and of `untrusted {}`. */
  readonly trustedIncludes: readonly string[];
  readonly untrustedIncludes: readonly string[];
  readonly imports: readonly EdlImport[];
  readonly types: readonly EdlTypeDefinition[];
  readonly trusted: readonly EdlTrustedFunction[];
  readonly untrusted: readonly EdlUntrustedFunction[];
  readonly span: Span;
}

/** The type as C writes it. */
export function typeText(type: EdlType): string {
  if (type.kind === 'pointer') return `${typeText(type.to)}*`;
  return type.kind === 'basic' || type.kind === 'foreign' ? type.name : `${type.kind} ${type.name}`;
}
