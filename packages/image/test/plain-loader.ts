/** Intel's loader a second time, in the plainest way: page by page from the raw file, without any check. */
import { createHash } from 'node:crypto';

/** MRENCLAVE of a `.signed.so` by the metadata block at file offset `meta`. */
export function plainMrenclave(original: Buffer, meta: number): string {
  const file = Buffer.from(original);
  const u16 = (at: number): number => file.readUInt16LE(at);
  const u32 = (at: number): number => file.readUInt32LE(at);
  const u64 = (at: number): number => Number(file.readBigUInt64LE(at));
  const hash = createHash('sha256');
  const major = u32(meta + 12);
  const version13 = major === 1 && u32(meta + 8) === 3;
  const elrange = major > 10 ? meta + u32(meta + 1888) : 0;
  const shift = elrange === 0 ? 0 : u64(elrange) - u64(elrange + 8);
  const block = (tag: string, a: number, b: number): void => {
    const row = Buffer.alloc(64);
    row.write(tag, 'latin1');
    row.writeBigUInt64LE(BigInt(a), 8);
    row.writeBigUInt64LE(BigInt(b), 16);
    hash.update(row);
  };
  const first = Buffer.alloc(64);
  first.write('ECREATE', 'latin1');
  first.writeUInt32LE(u32(meta + 24), 8);
  first.writeBigUInt64LE(BigInt(elrange === 0 ? u64(meta + 40) : u64(elrange + 16)), 12);
  hash.update(first);
  const addPage = (rva: number, flags: number, page: Buffer, measured: boolean): void => {
    block('EADD', rva + shift, flags);
    for (let c = 0; measured && c < 4096; c += 256) {
      block('EEXTEND', rva + shift + c, 0);
      hash.update(page.subarray(c, c + 256));
    }
  };
  // Relocations are read before the patches.
  const text = new Set<number>();
  const dynamic = new Map<number, number>();
  for (let i = 0; i < u16(56); i++) {
    const ph = 64 + 56 * i;
    if (u32(ph) === 2) for (let d = u64(ph + 8); u64(d) !== 0; d += 16) dynamic.set(u64(d), u64(d + 8));
  }
  if (dynamic.has(22)) {
    for (let r = dynamic.get(7)!; r < dynamic.get(7)! + dynamic.get(8)!; r += 24) {
      if (u32(r + 8) === 0) continue;
      for (const byte of [0, 7]) text.add(Math.floor((u64(r) + byte) / 4096));
    }
  }
  const patches = meta + u32(meta + 1872);
  for (let p = patches; p < patches + u32(meta + 1876); p += 32)
    file.copy(file, u64(p), meta + u32(p + 8), meta + u32(p + 8) + u32(p + 12));
  let pending: (() => void) | null = null;
  for (let i = 0; i < u16(56); i++) {
    const ph = 64 + 56 * i;
    if (u32(ph) !== 1) continue;
    pending?.();
    const [offset, vaddr, filesz, memsz] = [u64(ph + 8), u64(ph + 16), u64(ph + 32), u64(ph + 40)];
    const pf = u32(ph + 4);
    const flags = 0x200 | ((pf & 4) >> 2) | (pf & 2) | ((pf & 1) << 2);
    for (let page = Math.floor(vaddr / 4096); page * 4096 < vaddr + memsz; page++) {
      const bytes = Buffer.alloc(4096);
      let fromFile = false;
      for (let k = 0; k < 4096; k++) {
        const at = page * 4096 + k - vaddr;
        if (at < 0 || at >= filesz) continue;
        bytes[k] = file[offset + at];
        fromFile = true;
      }
      addPage(page * 4096, fromFile && text.has(page) ? flags | 2 : flags, bytes, true);
    }
    pending = null;
    const up = (n: number): number => Math.ceil(n / 4096) * 4096;
    if (version13 && vaddr > 0 && up(vaddr + memsz) < up(vaddr + up(memsz)))
      pending = () => addPage(up(vaddr + memsz), flags, Buffer.alloc(4096), true);
  }
  pending?.();
  const table = meta + u32(meta + 1880);
  const addEntry = (row: number, step: number): void => {
    const attributes = u16(row + 2);
    const flags = u64(row + 24);
    if ((attributes & 1) === 0 || flags === 0) return;
    const rva = u64(row + 8) + step;
    for (let n = 0; n < u32(row + 4); n++) {
      const page = Buffer.alloc(4096);
      const [size, content] = [u32(row + 16), u32(row + 20)];
      let measured = (attributes & 2) !== 0;
      if (content === 0) for (let k = 0; k < 4096; k += 4) page.writeUInt32LE(size, k);
      else {
        if (4096 * n < size)
          file.copy(page, 0, meta + content + 4096 * n, meta + content + Math.min(size, 4096 * (n + 1)));
        if (flags !== 0x100) measured = true;
        else for (const at of [16, 48, 56]) page.writeBigUInt64LE(page.readBigUInt64LE(at) + BigInt(rva), at);
      }
      addPage(rva + 4096 * n, flags, page, measured);
    }
  };
  const rows = u32(meta + 1884) / 32;
  for (let i = 0; i < rows; i++) {
    const row = table + 32 * i;
    if ((u16(row) & 0x1000) === 0) addEntry(row, 0);
    else
      for (let n = 1; n <= u32(row + 4); n++)
        for (let k = u16(row + 2); k > 0; k--) addEntry(row - 32 * k, n * u64(row + 8));
  }
  return hash.digest('hex');
}
