/** /proc/self/maps. */
import { current } from '../task/thread';
import { stackEnd, stackStart } from './images';
import { up } from './space';

/** /proc/self/maps: what is mapped, the image's parts in place, and the stack. */
export function mapsText(): string {
  let text = '';
  const space = current.process.space;
  if (space.breakEnd > space.breakStart) text += line(space.breakStart, space.breakEnd, 3, '[heap]');
  const images = space.images;
  const regions = space.regions;
  for (let i = 0; i < images.length; i++)
    text += line(images[i].imageAt, images[i].imageAt + up(images[i].imageSize), 7, '');
  for (let i = 0; i < regions.length; i++) text += line(regions[i].start, regions[i].end, regions[i].protection, '');
  return space.stackStart === stackStart ? text + line(stackStart, stackEnd, 3, '[stack]') : text;
}

function line(start: u64, end: u64, protection: u32, name: string): string {
  const access = `${(protection & 1) !== 0 ? 'r' : '-'}${(protection & 2) !== 0 ? 'w' : '-'}${(protection & 4) !== 0 ? 'x' : '-'}p`;
  const head = `${start.toString(16)}-${end.toString(16)} ${access} 00000000 00:00 0`;
  return name === '' ? `${head}\n` : `${head.padEnd(73, ' ')}${name}\n`;
}
