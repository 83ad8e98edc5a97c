import assert from 'node:assert/strict';
import test from 'node:test';
import { NsgxError } from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import {
  IMAGE_ERRORS,
  loadSignedSo,
  METADATA,
  type MetadataInit,
  measureImage,
  parseSignedSo,
  writeMetadata,
} from '../src/index.js';
import { noise } from './samples.js';
import { DATA_FILE, sampleLayout, sampleMetadata, sampleSignedSo } from './signed-so-samples.js';

const limits = { maxEnclaveBytes: 16 * 2 ** 20 };
const good = (): Buffer => sampleSignedSo([sampleMetadata(1, 5)], { textrel: true, relocations: [0x1100] });
const meta = parseSignedSo(good()).chosen.fileOffset;
const section = Number(good().readBigUInt64LE(40)) + 64;

type Damage = [what: string, change: (b: Buffer) => void, code: string, message: RegExp];

const layoutAt = (b: Buffer, row: number): number => meta + b.readUInt32LE(meta + 1880) + 32 * row;
const patchAt = (b: Buffer): number => meta + b.readUInt32LE(meta + 1872);

const DAMAGES: Damage[] = [
  ['class', (b) => b.writeUInt8(1, 4), 'IMAGE_ELF', /e_ident\[EI_CLASS\] is 1/],
  ['byte order', (b) => b.writeUInt8(2, 5), 'IMAGE_ELF', /EI_DATA\] is 2/],
  ['type', (b) => b.writeUInt16LE(2, 16), 'IMAGE_ELF', /e_type is 2/],
  ['machine', (b) => b.writeUInt16LE(3, 18), 'IMAGE_ELF', /e_machine is 3/],
  ['phentsize', (b) => b.writeUInt16LE(32, 54), 'IMAGE_ELF', /e_phentsize is 32/],
  ['phnum', (b) => b.writeUInt16LE(65, 56), 'IMAGE_ELF', /e_phnum is 65/],
  ['no segments', (b) => b.writeUInt16LE(0, 56), 'IMAGE_ELF', /PT_LOAD/],
  ['phoff', (b) => b.writeBigUInt64LE(2n ** 63n, 32), 'IMAGE_TRUNCATED', /e_phoff is 0x8000000000000000/],
  ['shoff', (b) => b.writeBigUInt64LE(BigInt(b.length - 10), 40), 'IMAGE_TRUNCATED', /Elf64_Shdr 2/],
  ['shstrndx', (b) => b.writeUInt16LE(9, 62), 'IMAGE_ELF', /e_shstrndx is 9/],
  [
    'p_offset',
    (b) => b.writeBigUInt64LE(2n ** 40n, 72),
    'IMAGE_TRUNCATED',
    /Elf64_Phdr 0.p_offset is 0x10000000000/,
  ],
  ['p_vaddr', (b) => b.writeBigUInt64LE(2n ** 60n, 80), 'IMAGE_ELF', /Elf64_Phdr 0.p_vaddr/],
  ['p_memsz', (b) => b.writeBigUInt64LE(5n, 104), 'IMAGE_ELF', /p_memsz is 0x5, less than p_filesz/],
  ['p_align', (b) => b.writeBigUInt64LE(0x800n, 112), 'IMAGE_ELF', /p_align is 0x800/],
  ['no access', (b) => b.writeUInt32LE(0, 68), 'IMAGE_ELF', /p_flags is 0x0/],
  ['W without R', (b) => b.writeUInt32LE(2, 68), 'IMAGE_SECINFO', /W without R/],
  ['segments overlap', (b) => b.writeBigUInt64LE(0x2e10n, 136), 'IMAGE_DUPLICATE_PAGE', /rva 0x2000/],
  ['segment over heap', (b) => b.writeBigUInt64LE(0x8e10n, 136), 'IMAGE_DUPLICATE_PAGE', /rva 0x9000/],
  ['DT_RELA', (b) => b.writeBigUInt64LE(0x900000n, DATA_FILE + 8), 'IMAGE_ELF', /DT_RELA is 0x900000/],
  ['r_offset', (b) => b.writeBigUInt64LE(2n ** 50n, 0x800), 'IMAGE_ELF', /Elf64_Rela 0.r_offset/],
  ['section name', (b) => b.writeUInt32LE(2, section), 'IMAGE_METADATA', /no section .note.sgxmeta/],
  ['section type', (b) => b.writeUInt32LE(8, section + 4), 'IMAGE_ELF', /SHT_NOBITS/],
  ['section size', (b) => b.writeBigUInt64LE(2n ** 40n, section + 32), 'IMAGE_TRUNCATED', /note.sgxmeta/],
  ['short section', (b) => b.writeBigUInt64LE(4n, section + 32), 'IMAGE_METADATA', /4 bytes/],
  ['n_namesz', (b) => b.writeUInt32LE(16, meta - 25), 'IMAGE_METADATA', /n_namesz is 16/],
  ['name', (b) => b.writeUInt8(0x53, meta - 13), 'IMAGE_METADATA', /not named "sgx_metadata"/],
  ['magic_num', (b) => b.writeUInt8(0, meta), 'IMAGE_METADATA', /magic_num is missing/],
  ['size 0', (b) => b.writeUInt32LE(0, meta + 16), 'IMAGE_METADATA', /size is 0/],
  ['size', (b) => b.writeUInt32LE(0x30000, meta + 16), 'IMAGE_METADATA', /size 196608 ends after/],
  ['tcs_policy', (b) => b.writeUInt32LE(2, meta + 20), 'IMAGE_METADATA', /tcs_policy is 2/],
  ['ssa_frame_size', (b) => b.writeUInt32LE(5, meta + 24), 'IMAGE_METADATA', /ssa_frame_size is 5/],
  ['enclave_size', (b) => b.writeBigUInt64LE(0x3000n, meta + 40), 'IMAGE_METADATA', /enclave_size is 0x3000/],
  ['huge enclave', (b) => b.writeBigUInt64LE(2n ** 50n, meta + 40), 'IMAGE_TOO_LARGE', /enclave_size/],
  [
    'small enclave',
    (b) => b.writeBigUInt64LE(0x4000n, meta + 40),
    'IMAGE_METADATA_LAYOUT',
    /after enclave_size/,
  ],
  ['dirs[0]', (b) => b.writeUInt32LE(0xfffffff0, meta + 1872), 'IMAGE_METADATA', /dirs\[0\]/],
  ['dirs[1].size', (b) => b.writeUInt32LE(33, meta + 1884), 'IMAGE_METADATA', /DIR_LAYOUT\].size is 33/],
  [
    'patch src',
    (b) => b.writeUInt32LE(0xffffff00, patchAt(b) + 8),
    'IMAGE_METADATA_PATCH',
    /patch_entry_t 0: src/,
  ],
  [
    'patch dst',
    (b) => b.writeBigUInt64LE(2n ** 64n - 1n, patchAt(b)),
    'IMAGE_METADATA_PATCH',
    /patch_entry_t 0: dst/,
  ],
  ['rva', (b) => b.writeBigUInt64LE(0x9001n, layoutAt(b, 0) + 8), 'IMAGE_METADATA_LAYOUT', /rva is 0x9001/],
  [
    'far rva',
    (b) => b.writeBigUInt64LE(2n ** 63n, layoutAt(b, 0) + 8),
    'IMAGE_METADATA_LAYOUT',
    /layout_t 0/,
  ],
  [
    'page_count',
    (b) => b.writeUInt32LE(2 ** 32 - 1, layoutAt(b, 0) + 4),
    'IMAGE_METADATA_LAYOUT',
    /4294967295 pages/,
  ],
  [
    'overlap',
    (b) => b.writeUInt32LE(4, layoutAt(b, 0) + 4),
    'IMAGE_METADATA_LAYOUT',
    /GUARD at rva 0xc000 overlaps/,
  ],
  [
    'content_offset',
    (b) => b.writeUInt32LE(2 ** 31, layoutAt(b, 4) + 20),
    'IMAGE_METADATA_LAYOUT',
    /\(TCS\).content_offset/,
  ],
  ['no template', (b) => b.writeUInt32LE(0, layoutAt(b, 4) + 20), 'IMAGE_METADATA_LAYOUT', /\(TCS\)/],
  [
    'template size',
    (b) => b.writeUInt32LE(71, layoutAt(b, 4) + 16),
    'IMAGE_METADATA_LAYOUT',
    /content_size is 71/,
  ],
  [
    'two TCS pages',
    (b) => b.writeUInt32LE(2, layoutAt(b, 4) + 4),
    'IMAGE_METADATA_LAYOUT',
    /page_count is 2/,
  ],
  [
    'si_flags',
    (b) => b.writeUInt32LE(0x303, layoutAt(b, 0) + 24),
    'IMAGE_METADATA_LAYOUT',
    /si_flags is 0x303/,
  ],
  [
    'si_flags W',
    (b) => b.writeUInt32LE(0x202, layoutAt(b, 0) + 24),
    'IMAGE_METADATA_LAYOUT',
    /si_flags is 0x202/,
  ],
  ['entry_count', (b) => b.writeUInt16LE(9, layoutAt(b, 8) + 2), 'IMAGE_METADATA_LAYOUT', /entry_count is 9/],
  [
    'load_times',
    (b) => b.writeUInt32LE(2 ** 32 - 1, layoutAt(b, 8) + 4),
    'IMAGE_METADATA_LAYOUT',
    /load_step/,
  ],
  ['load_step 0', (b) => b.writeBigUInt64LE(0n, layoutAt(b, 8) + 8), 'IMAGE_METADATA_LAYOUT', /overlaps/],
  [
    'endless group',
    (b) => {
      b.writeBigUInt64LE(0n, layoutAt(b, 8) + 8);
      b.writeUInt32LE(2 ** 32 - 1, layoutAt(b, 8) + 4);
    },
    'IMAGE_METADATA_LAYOUT',
    /more than 65536 ranges/,
  ],
];

test('every damage is refused with its code, structure, field and value', () => {
  loadSignedSo(good(), { limits });
  for (const [what, change, code, message] of DAMAGES) {
    const file = good();
    change(file);
    assert.throws(
      () => loadSignedSo(file, { limits }),
      (error: NsgxError) => {
        assert.ok(error instanceof NsgxError, `${what}: ${error}`);
        assert.equal(error.code, code, `${what}: ${error.message}`);
        assert.match(error.message, message, what);
        return true;
      },
    );
  }
});

test('blocks, directories and ELRANGE of other versions are checked too', () => {
  const refuse = (init: MetadataInit | MetadataInit[], code: string, message: RegExp): void => {
    assert.throws(() => loadSignedSo(sampleSignedSo([init].flat()), { limits }), { code, message });
  };
  const elrange = {
    enclave_image_address: 0x1000_0000n,
    elrange_start_address: 0x1000_0000n,
    elrange_size: 0x400000n,
  };
  loadSignedSo(sampleSignedSo([sampleMetadata(11, 5, { elrange })]), { limits });
  refuse(sampleMetadata(11, 5), 'IMAGE_METADATA', /DIR_ELRANGE/);
  const bad = (more: Partial<typeof elrange>, message: RegExp, code = 'IMAGE_METADATA'): void =>
    refuse(sampleMetadata(11, 5, { elrange: { ...elrange, ...more } }), code, message);
  bad({ elrange_size: 0x500000n }, /elrange_size is 0x500000/);
  bad({ elrange_size: 2n ** 40n }, /elrange_size/, 'IMAGE_TOO_LARGE');
  bad({ elrange_start_address: 0xfff_f000n }, /elrange_start_address is 0xffff000/);
  bad({ enclave_image_address: 0x1000_1000n }, /enclave_image_address is 0x10001000/);
  bad({ enclave_image_address: 0x0n }, /enclave_image_address is 0x0/);
  refuse(
    Array.from({ length: 9 }, () => sampleMetadata(1, 5)),
    'IMAGE_METADATA',
    /more than 8/,
  );
  const group = { id: 0x1009, entry_count: 2, load_times: 1, load_step: 0x100000n };
  refuse(
    sampleMetadata(1, 5, { layout: [...sampleLayout(), { group }] }),
    'IMAGE_METADATA_LAYOUT',
    /another group/,
  );
  const content = noise(5000, 3);
  const entry = { id: 5, attributes: 1, page_count: 1, rva: 0x200000n, si_flags: 0x203n };
  refuse(
    sampleMetadata(1, 5, { layout: [{ entry, content }] }),
    'IMAGE_METADATA_LAYOUT',
    /content_size is 5000/,
  );
  assert.throws(() => loadSignedSo(good(), { limits: { maxFileBytes: 1000 } }), { code: 'IMAGE_TOO_LARGE' });
  assert.throws(
    () => writeMetadata(sampleMetadata(1, 5, { patches: [{ dst: 0n, data: new Uint8Array(300_000) }] })),
    {
      code: 'IMAGE_TOO_LARGE',
    },
  );
});

test('the directory entry of a second shared object is checked', () => {
  const refuse = (size: number, offset: number, message: RegExp): void => {
    const extend = Buffer.alloc(16);
    [0x1002, size, offset].forEach((v, i) => {
      extend.writeUInt32LE(v, 4 * i);
    });
    const patches = [{ dst: 0x1f00n, data: new Uint8Array(extend) }];
    const file = sampleSignedSo([sampleMetadata(1, 5, { patches })]);
    const at = file.indexOf(extend, meta) - meta;
    file.writeUInt32LE(at, meta + METADATA.offsets.dirs + 24);
    file.writeUInt32LE(16, meta + METADATA.offsets.dirs + 28);
    assert.throws(() => loadSignedSo(file), { code: 'IMAGE_METADATA', message });
  };
  refuse(32, 1, /file_offset/);
  refuse(31, 1, /0x1002 has 31 bytes/);
  refuse(32, 0xffff_fff0, /0x1002 has 32 bytes at 0xfffffff0/);
});

test('no damaged file crashes or hangs: random bytes, cuts and extreme words', () => {
  const seed = Number(process.env.NSGX_SEED ?? 1);
  let state = seed | 1;
  const random = (n: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return Math.floor(((state >>> 0) / 2 ** 32) * n);
  };
  const bases = [
    good(),
    sampleSignedSo([sampleMetadata(3, 3, { layout: sampleLayout({ dynamic: true }) }), sampleMetadata(1, 5)]),
  ];
  // Header, program headers, dynamic section, relocations, and all from the metadata on.
  const places = (b: Buffer): number => {
    const kind = random(4);
    if (kind === 0) return random(232);
    if (kind === 1) return DATA_FILE + random(96);
    if (kind === 2) return 0x800 + random(48);
    return meta - 30 + random(b.length - meta + 30 - 8);
  };
  const words = [0n, 1n, 0x7fn, 0xfffn, 0x1000n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 63n, 2n ** 64n - 1n];
  let accepted = 0;
  for (let round = 0; round < 1500; round++) {
    let file = Buffer.from(bases[round % bases.length]);
    for (let n = 1 + random(3); n > 0; n--) {
      const at = places(file);
      const how = random(4);
      if (how === 0) file[at] ^= 1 << random(8);
      else if (how === 1) file.writeBigUInt64LE(words[random(words.length)], at);
      else if (how === 2) file.writeUInt32LE(random(2 ** 32), at);
      else file.writeUInt16LE(random(64), at);
    }
    if (random(10) === 0) file = file.subarray(0, random(file.length));
    try {
      const image = loadSignedSo(file, { limits, edmm: random(2) === 0 });
      measureImage(nodeHash, image);
      accepted++;
    } catch (error) {
      assert.ok(
        error instanceof NsgxError && error.code in IMAGE_ERRORS,
        `seed ${seed}, round ${round}: ${error}`,
      );
    }
  }
  assert.ok(accepted > 50 && accepted < 1450, `${accepted} accepted`);
});
