import { check } from './errors.js';
import { native } from './native.js';

/**
 * Takes an advisory lock of a whole file (flock), shared or exclusive, without waiting; closing the descriptor gives it
 * back. @throws OsError EAGAIN when another opening of the file holds one that does not go with it
 */
export function lockFile(fd: number, exclusive: boolean): void {
  check(native().lockFile(fd, exclusive ? 1 : 0), 'flock', `descriptor ${fd}`);
}
