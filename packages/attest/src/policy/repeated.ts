/** Members that JSON text names twice, which JSON.parse does not tell. */

const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\]:,]/g;

/**
 * The first member that is twice in the same object, or null.
 * @param text JSON that JSON.parse takes
 */
export function repeatedMember(text: string): string | null {
  /** Names so far of each object around; null for a list. */
  const around: (Set<string> | null)[] = [];
  let name: string | null = null;
  for (const [token] of text.matchAll(TOKEN)) {
    if (token === '{') around.push(new Set());
    else if (token === '[') around.push(null);
    else if (token === '}' || token === ']') around.pop();
    else if (token === ':') {
      const names = around[around.length - 1];
      if (names?.has(name!)) return name;
      names?.add(name!);
    } else if (token !== ',') name = JSON.parse(token) as string;
  }
  return null;
}
