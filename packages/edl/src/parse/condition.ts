/** The expressions of `#if` and `#elif`: integers of 64 bits, as the C preprocessor computes them. */

/** A value with its signedness, which spreads to what it is combined with. */
interface Value {
  readonly value: bigint;
  readonly unsigned: boolean;
}

const TOKEN =
  /[ \t\r]*(?:(?<name>[A-Za-z_]\w*)|(?<number>0[xX][0-9a-fA-F]+|0[bB][01]+|[0-9]+)(?<suffix>[uUlL]*)(?![\w.])|(?<symbol>&&|\|\||<<|>>|[=!<>]=|[-+*/%&|^!~<>()?:]))/y;
const LEVELS = [
  ['||'],
  ['&&'],
  ['|'],
  ['^'],
  ['&'],
  ['==', '!='],
  ['<', '>', '<=', '>='],
  ['<<', '>>'],
  ['+', '-'],
  ['*', '/', '%'],
];
const MAX_DEPTH = 64;
const MAX_TOKENS = 4096;

interface ConditionToken {
  readonly text: string;
  readonly kind: 'name' | 'number' | 'symbol' | 'end';
  readonly unsigned?: boolean;
}

/** What an expression may ask. */
export interface MacroView {
  isDefined(name: string): boolean;
  /** What stands for a name; nothing when it is no macro. @throws when it is one that has no place in a condition */
  bodyOf(name: string): string | undefined;
}

/** Whether the condition holds. @param fail makes the error that is thrown for what is no expression */
export function holds(text: string, macros: MacroView, fail: (problem: string) => Error): boolean {
  return new Condition(text, macros, fail).whole().value !== 0n;
}

class Condition {
  readonly #macros: MacroView;
  readonly #fail: (problem: string) => Error;
  readonly #tokens: ConditionToken[] = [];
  #at = 0;
  #depth = 0;

  constructor(text: string, macros: MacroView, fail: (problem: string) => Error) {
    this.#macros = macros;
    this.#fail = fail;
    this.#expand(text, []);
    this.#tokens.push({ text: '', kind: 'end' });
  }

  /** Adds the tokens of a text, macros replaced but for the operands of `defined`. */
  #expand(text: string, hidden: readonly string[]): void {
    if (hidden.length > MAX_DEPTH) throw this.#fail(`macros are nested deeper than ${MAX_DEPTH}`);
    const pattern = new RegExp(TOKEN);
    const all = text.trimEnd();
    for (let at = 0; at < all.length; at = pattern.lastIndex) {
      pattern.lastIndex = at;
      const groups = pattern.exec(all)?.groups;
      if (groups === undefined) {
        const found = JSON.stringify(all.slice(at, at + 20).trim());
        throw this.#fail(`the condition has ${found}, which is not supported`);
      }
      const { name, number, suffix, symbol } = groups;
      const body =
        name === undefined || this.#asked() || hidden.includes(name) ? undefined : this.#macros.bodyOf(name);
      if (body !== undefined && name !== undefined) this.#expand(body, [...hidden, name]);
      else if (number !== undefined)
        this.#push({ text: number, kind: 'number', unsigned: /u/i.test(suffix) });
      else this.#push({ text: name ?? symbol, kind: name === undefined ? 'symbol' : 'name' });
    }
  }

  /** Whether `defined` or `defined (` came last. */
  #asked(): boolean {
    const last = this.#tokens.at(-1);
    const operator = last?.kind === 'symbol' && last.text === '(' ? this.#tokens.at(-2) : last;
    return operator?.kind === 'name' && operator.text === 'defined';
  }

  #push(token: ConditionToken): void {
    if (this.#tokens.length >= MAX_TOKENS)
      throw this.#fail(`the condition has more than ${MAX_TOKENS} tokens`);
    this.#tokens.push(token);
  }

  whole(): Value {
    const value = this.#choice(true);
    if (this.#peek().kind !== 'end') throw this.#unexpected('an operator');
    return value;
  }

  /** `live` is false where the value does not count, so that a division by zero is none. */
  #choice(live: boolean): Value {
    if (++this.#depth > MAX_DEPTH) throw this.#fail(`the condition is nested deeper than ${MAX_DEPTH}`);
    const test = this.#binary(0, live);
    let result = test;
    if (this.#accept('?')) {
      const yes = test.value !== 0n;
      const first = this.#choice(live && yes);
      if (!this.#accept(':')) throw this.#unexpected("':'");
      const second = this.#choice(live && !yes);
      result = made(yes ? first.value : second.value, first.unsigned || second.unsigned);
    }
    this.#depth--;
    return result;
  }

  #binary(level: number, live: boolean): Value {
    if (level === LEVELS.length) return this.#unary(live);
    let left = this.#binary(level + 1, live);
    for (;;) {
      const operator = this.#peek();
      if (operator.kind !== 'symbol' || !LEVELS[level].includes(operator.text)) return left;
      this.#at++;
      const decided =
        operator.text === '&&' ? left.value === 0n : operator.text === '||' && left.value !== 0n;
      const right = this.#binary(level + 1, live && !decided);
      left = this.#combine(operator.text, left, right, live);
    }
  }

  #combine(operator: string, a: Value, b: Value, live: boolean): Value {
    const truth = (value: boolean) => made(value ? 1n : 0n, false);
    if (operator === '&&') return truth(a.value !== 0n && b.value !== 0n);
    if (operator === '||') return truth(a.value !== 0n || b.value !== 0n);
    const shift = operator === '<<' || operator === '>>';
    const unsigned = a.unsigned || (!shift && b.unsigned);
    const x = made(a.value, unsigned).value;
    const y = shift ? b.value : made(b.value, unsigned).value;
    if ((operator === '/' || operator === '%') && y === 0n) {
      if (live) throw this.#fail('the condition divides by zero');
      return made(0n, unsigned);
    }
    if (shift) {
      const left = (operator === '<<') === y >= 0n;
      const by = y < 0n ? -y : y;
      if (by < 64n) return made(left ? x << by : x >> by, unsigned);
      return made(left || x >= 0n ? 0n : -1n, unsigned);
    }
    switch (operator) {
      case '|':
        return made(x | y, unsigned);
      case '^':
        return made(x ^ y, unsigned);
      case '&':
        return made(x & y, unsigned);
      case '+':
        return made(x + y, unsigned);
      case '-':
        return made(x - y, unsigned);
      case '*':
        return made(x * y, unsigned);
      case '/':
        return made(x / y, unsigned);
      case '%':
        return made(x % y, unsigned);
      case '==':
        return truth(x === y);
      case '!=':
        return truth(x !== y);
      case '<':
        return truth(x < y);
      case '>':
        return truth(x > y);
      case '<=':
        return truth(x <= y);
      default:
        return truth(x >= y);
    }
  }

  #unary(live: boolean): Value {
    const signs: string[] = [];
    while (this.#peek().kind === 'symbol' && /^[-+!~]$/.test(this.#peek().text))
      signs.push(this.#tokens[this.#at++].text);
    let value = this.#primary(live);
    for (const sign of signs.reverse()) {
      if (sign === '!') value = made(value.value === 0n ? 1n : 0n, false);
      else if (sign === '-') value = made(-value.value, value.unsigned);
      else if (sign === '~') value = made(~value.value, value.unsigned);
    }
    return value;
  }

  #primary(live: boolean): Value {
    const token = this.#peek();
    if (this.#accept('(')) {
      const value = this.#choice(live);
      if (!this.#accept(')')) throw this.#unexpected("')'");
      return value;
    }
    if (token.kind === 'number') {
      this.#at++;
      return this.#number(token.text, token.unsigned ?? false);
    }
    if (token.kind !== 'name') throw this.#unexpected('a number or a name');
    this.#at++;
    if (token.text === 'defined') return made(this.#defined() ? 1n : 0n, false);
    if (this.#peek().text === '(') throw this.#fail(`'${token.text}(…)' in a condition is not supported`);
    return made(0n, false);
  }

  #number(text: string, unsigned: boolean): Value {
    const octal = /^0[0-9]/.test(text);
    if (octal && /[89]/.test(text)) throw this.#fail(`'${text}' is not an octal number`);
    if (text.length > 70) throw this.#fail('a number of the condition is too large');
    const value = BigInt(octal ? `0o${text}` : text);
    if (value >= 1n << 64n) throw this.#fail('a number of the condition is too large');
    return { value, unsigned: unsigned || value >= 1n << 63n };
  }

  #defined(): boolean {
    const open = this.#accept('(');
    const token = this.#peek();
    if (token.kind !== 'name') throw this.#unexpected("a name after 'defined'");
    this.#at++;
    if (open && !this.#accept(')')) throw this.#unexpected("')' after 'defined'");
    return this.#macros.isDefined(token.text);
  }

  #peek() {
    return this.#tokens[this.#at];
  }

  #accept(text: string): boolean {
    if (this.#peek().kind !== 'symbol' || this.#peek().text !== text) return false;
    this.#at++;
    return true;
  }

  #unexpected(expected: string): Error {
    const { kind, text } = this.#peek();
    return this.#fail(`the condition expects ${expected}, found ${kind === 'end' ? 'its end' : `'${text}'`}`);
  }
}

function made(value: bigint, unsigned: boolean): Value {
  return { value: unsigned ? BigInt.asUintN(64, value) : BigInt.asIntN(64, value), unsigned };
}
