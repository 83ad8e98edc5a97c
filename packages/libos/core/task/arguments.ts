/** Arguments of execve. */
import { Inode } from '../fs/inode';

/** What a program is started with; kept with the thread while blocks of the binaries are fetched. */
export class Arguments {
  strings: Array<string> = new Array<string>();
  variables: Array<string> = new Array<string>();
  bytes: usize = 0;
  scripts: i32 = 0;
  /** How a file of the host begins, once that is known. */
  head: string | null = null;
  /** The program is in place; what follows cannot fail. */
  done: bool = false;
  constructor(
    public inode: Inode,
    public name: string,
  ) {}
}
