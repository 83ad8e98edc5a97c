/** Interface descriptions of enclaves, the message format of their calls, and the C generated from them. Pure. */
export { generateBridges, generateHeader } from './c-bridges.js';
export { EDL_ERRORS, type EdlErrorCode } from './errors.js';
export { generateTrustedC, type TrustedC } from './generate/c/trusted.js';
export type { EdlInterface, OcallAnswer } from './generate/interface-type.js';
export { generateTypeScript } from './generate/typescript.js';
export {
  type FunctionDescription,
  type InterfaceDescription,
  parseInterface,
  parseInterfaceSource,
  VALUE_TYPES,
  type ValueType,
} from './interface.js';
export { alignOf, type CMember, type CType, type Extent, sizeOf, type Target } from './layout/ctype.js';
export {
  type CallDescription,
  type DescribeOptions,
  type Direction,
  describeEdl,
  type EdlDescription,
  type ParameterDescription,
} from './layout/describe.js';
export { type ForeignType, KNOWN_TYPES } from './layout/foreign-types.js';
export {
  type CallResult,
  ecallMarshaller,
  hasOutputs,
  type MarshalledEcall,
  marshalEcall,
} from './marshal/ecall.js';
export type { FlatMemory, UntrustedMemory } from './marshal/memory.js';
export { type MarshalledOcall, marshalOcall } from './marshal/ocall.js';
export {
  DEFAULT_MESSAGE_LIMIT,
  MessageReader,
  MessageWriter,
  readArguments,
  readResult,
  signature,
  writeArguments,
  writeResult,
} from './message.js';
export type * from './parse/ast.js';
export { typeText } from './parse/ast.js';
export { type EdlWarning, isDeepCopy } from './parse/checks.js';
export type { EdlResolver } from './parse/imports.js';
export { EDL_KEYWORDS } from './parse/lexer.js';
export { DEFAULT_EDL_LIMITS, type EdlLimits } from './parse/limits.js';
export { type ParsedEdl, type ParseEdlOptions, parseEdl } from './parse/parse-edl.js';
export { EdlError, type EdlSource, type Span } from './parse/source.js';
export { withStandardEdl } from './standard/resolver.js';
export { STANDARD_EDL } from './standard/standard-files.js';
