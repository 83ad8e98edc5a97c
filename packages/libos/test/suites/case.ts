/** An invocation of a program of Debian, which must say and answer the same natively and in an enclave. */
export interface Case {
  /** Name of the program, as a shell finds it. */
  readonly program: string;
  readonly args: readonly string[];
  readonly input?: string;
  /** Files of this machine that it needs besides its libraries; folders with all that is in them. */
  readonly copy?: readonly string[];
  /** Bytes of memory, where 64 MiB are too few. */
  readonly memory?: number;
  /** What it says on stderr when it did not do its work, whatever its status. */
  readonly idle?: RegExp;
  /** Of the short selection. */
  readonly short?: true;
}

/** Invocations of one program, and the package that has it. */
export interface Suite {
  readonly name: string;
  readonly program: string;
  readonly package: string;
  /** `folder` has the files of `FILES`. */
  cases(folder: string): readonly Case[];
}

/** Files that programs are given; read-only in the enclave. */
export const FILES: Readonly<Record<string, string>> = Object.freeze({
  poem: [
    'The quick brown fox',
    'jumps over the lazy dog.',
    '',
    'the 2nd line of  the poem has 10 words in it',
    'ZEBRA apple Mango',
    'apple\tbanana\tcherry',
    'x=1;y=2;z=3',
    'naïve café',
    'The quick brown fox',
    '',
  ].join('\n'),
  numbers: `${Array.from({ length: 200 }, (_, i) => `${(i * 7919) % 211} ${i} n${i % 7}`).join('\n')}\n`,
  sorted: 'a\nb\nc\nd\ne\n',
  other: 'b\nc\nx\ne\nz\n',
  csv: 'id,name,amount\n1,anna,10.5\n2,berta,7\n3,"carl, jr",-3\n4,dora,100\n',
  passwd: 'root:x:0:0:root:/root:/bin/sh\nanna:x:1000:1000::/home/anna:/bin/sh\n',
});
