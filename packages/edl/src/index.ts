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
