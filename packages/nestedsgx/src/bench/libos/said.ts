/** Figures out of what programs write. */
import { type Command, firstLine, type Side, type Stage, which } from './stage.js';
import type { Figures } from './subject.js';

/** Full path of a program that is there. */
export function path(name: string): string {
  return which(name) ?? name;
}

/** What a program writes. @throws when it fails */
export function said(stage: Stage, side: Side, command: Command, input = ''): string {
  const { status, stdout, stderr } = stage.run(side, command, input);
  if (status !== 0) throw new Error(`ended with ${status}: ${firstLine(stderr)}`);
  return stdout;
}

/** One figure of what a program wrote. @throws when it is not there */
export function figureIn(text: string, pattern: RegExp): number {
  const found = Number(pattern.exec(text)?.[1]);
  if (!(found > 0)) throw new Error(`there is no ${pattern.source} in: ${firstLine(text)}`);
  return found;
}

/** Lines "NAME FIGURE" or "NAME - REASON". */
export function namedFigures(text: string): Figures {
  const figures = new Map<string, number | string>();
  for (const [, name = '', figure = '', reason = ''] of text.matchAll(/^(\S+) (\S+) ?(.*)$/gm))
    figures.set(name, figure === '-' ? reason : Number(figure));
  return figures;
}

/** Each of these; what fails says why in its place. */
export async function figures(
  of: Readonly<Record<string, () => number | Promise<number>>>,
): Promise<Figures> {
  const found = new Map<string, number | string>();
  for (const [name, measure] of Object.entries(of))
    try {
      found.set(name, await measure());
    } catch (error) {
      found.set(name, firstLine((error as Error).message));
    }
  return found;
}
