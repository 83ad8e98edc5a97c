/** Interface descriptions of enclaves, the message format of their calls, and the C generated from them. Pure. */
export { generateBridges, generateHeader } from './c-bridges.js';
export { EDL_ERRORS, type EdlErrorCode } from './errors.js';
export {
  type FunctionDescription,
  type InterfaceDescription,
  parseInterface,
  parseInterfaceSource,
  VALUE_TYPES,
  type ValueType,
} from './interface.js';
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
export { type EdlWarning, isDeepCopy } from './parse/checks.js';
export type { EdlResolver } from './parse/imports.js';
export { EDL_KEYWORDS } from './parse/lexer.js';
export { DEFAULT_EDL_LIMITS, type EdlLimits } from './parse/limits.js';
export { type ParsedEdl, type ParseEdlOptions, parseEdl } from './parse/parse-edl.js';
export { EdlError, type EdlSource, type Span } from './parse/source.js';
