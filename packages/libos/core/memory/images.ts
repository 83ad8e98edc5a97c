/** What has its place from the start: the binaries of the image and the first stack. */
import { Inode } from '../fs/inode';
import { isFixed } from '../image-parts';
import { current } from '../task/thread';
import { mapped, own, up } from './space';

/** All that the image has in place, used or not. */
const images = new Array<Inode>();

export function addImage(file: Inode): void {
  images.push(file);
  if (!file.imageTaken) return;
  own().images.push(file);
  if (isFixed(file)) own().fixed = file;
}

/** The image that a range lies in, or null. */
export function imageOf(at: u64, length: u64): Inode | null {
  if (at + length < at) return null;
  for (let i = 0; i < images.length; i++) {
    const image = images[i];
    if (at >= image.imageAt && at + length <= image.imageAt + image.imageSize) return image;
  }
  return null;
}

export let stackStart: u64 = 0;
export let stackEnd: u64 = 0;

export function setStack(start: u64, size: u64): void {
  stackStart = own().stackStart = start;
  stackEnd = own().stackEnd = start + size;
}

export function isStack(at: u64, length: u64): bool {
  return at >= stackStart && at + length <= stackEnd;
}

export function stackBytes(): u64 {
  return stackEnd - stackStart;
}

/** Whether there is memory in the whole of a range. */
export function isMapped(at: u64, length: u64): bool {
  if (at + length < at) return false;
  if (imageOf(at, length) !== null || isStack(at, length)) return true;
  const space = current.process.space;
  return (at >= space.breakStart && at + length <= up(space.breakEnd)) || mapped(at, at + length);
}
