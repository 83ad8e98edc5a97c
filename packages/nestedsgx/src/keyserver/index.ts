/**
 * Keys for stores of programs that run elsewhere: a server that gives them to enclaves whose evidence it accepts.
 * @module
 */
export { carrier } from './carrier.js';
export { KEY_SERVER_ERRORS, type KeyServerErrorCode } from './errors.js';
export { type ListenOptions, listen } from './listen.js';
export { Master } from './master.js';
export { type KeyRules, parseRules, parseRulesText } from './rules.js';
export { type KeyDecision, KeyServer, type KeyServerOptions } from './server.js';
