/** Calls that need an attribute which the language no longer has. */
import type { EdlFile, EdlTrustedFunction, EdlUntrustedFunction } from './ast.js';
import { removedError } from './attributes.js';

/** @throws EDL_REMOVED when a parameter, or a member of a structure that one is or points to, has a removed attribute */
export function refuseRemoved(fn: EdlTrustedFunction | EdlUntrustedFunction, file: EdlFile): void {
  for (const { type, removed } of fn.parameters) {
    if (removed !== undefined) throw removedError(removed.span);
    let target = type;
    while (target.kind === 'pointer') target = target.to;
    if (target.kind !== 'struct' && target.kind !== 'foreign') continue;
    const { name } = target;
    for (const struct of file.types)
      if (struct.kind === 'struct' && struct.name === name)
        for (const member of struct.members)
          if (member.removed !== undefined) throw removedError(member.removed.span);
  }
}
