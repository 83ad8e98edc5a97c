import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import fc from 'fast-check';
import { nodeHash } from '../src/hash/node.js';
import {
  type Firmware,
  type GuestLaunch,
  guidBytes,
  guidText,
  hashCommandLine,
  LaunchDigest,
  type LaunchVmm,
  launchPages,
  measureFirmware,
  measureGuestLaunch,
  NsgxError,
  parseFirmware,
  SNP_PAGE_TYPE,
  VCPU_TYPES,
  vcpuSignature,
} from '../src/index.js';
import {
  AMD_SEV,
  OVMF_X64,
  RESET_BLOCK,
  SVSM,
  type SyntheticFirmware,
  synthesize,
  u32,
} from './launch-synthetic.js';

interface Guest {
  name: string;
  mode: 'SNP' | 'SVSM';
  vcpus: number;
  vcpu_type: string | null;
  ovmf: string;
  kernel: string | null;
  append: string | null;
  guest_features: string;
  vmm: string;
  launch_digest: string;
  pages: number;
}

const vectors = JSON.parse(
  readFileSync(new URL('../../vectors/launch-digest/GUESTS.json', import.meta.url), 'utf8'),
) as { digest_after_images: Record<string, string>; vectors: Guest[] };
const hex = (b: Uint8Array) => Buffer.from(b).toString('hex');
const refuses = (f: () => unknown, code: string, pattern: RegExp) =>
  assert.throws(f, (e) => e instanceof NsgxError && e.code === code && pattern.test(e.message));
const parsed = (options: SyntheticFirmware): Firmware => parseFirmware(synthesize(options));
const EMPTY = nodeHash.sha256().digest();

const launchOf = (guest: Guest): GuestLaunch => ({
  firmware: parsed(guest.ovmf.includes('AmdSev') ? AMD_SEV : OVMF_X64),
  firmwareDigest: Buffer.from(vectors.digest_after_images[guest.ovmf], 'hex'),
  vcpus: guest.vcpus,
  vcpuSignature: VCPU_TYPES[guest.vcpu_type ?? 'EPYC'],
  guestFeatures: BigInt(guest.guest_features),
  vmm: guest.vmm.toLowerCase() as LaunchVmm,
  ...(guest.kernel === null
    ? {}
    : { kernel: { kernel: EMPTY, initrd: EMPTY, cmdline: hashCommandLine(nodeHash, guest.append ?? '') } }),
});

test('every launch digest of sev-snp-measure, after the pages of its firmware', () => {
  const guests = vectors.vectors.filter((guest) => guest.mode === 'SNP');
  assert.equal(guests.length, 14);
  for (const guest of guests) {
    assert.equal(hex(measureGuestLaunch(nodeHash, launchOf(guest))), guest.launch_digest, guest.name);
    // One of the images has a single page in these vectors, and one vector begins behind it.
    const own = guest.name.includes('hash_gen') ? 0 : 1;
    assert.equal([...launchPages(launchOf(guest))].length + own, guest.pages, guest.name);
  }
});

test('launch digests with an SVSM: the images lie below 4 GiB, what follows gives the digest', () => {
  const guests = vectors.vectors.filter((guest) => guest.mode === 'SVSM');
  assert.equal(guests.length, 2);
  for (const guest of guests) {
    const pages = [
      ...launchPages({
        firmware: parsed({ ...OVMF_X64, pages: 892 }),
        svsm: { image: parsed(SVSM), variablesSize: 540_672 },
        vcpus: guest.vcpus,
        vcpuSignature: VCPU_TYPES['EPYC-v4'],
      }),
    ];
    assert.equal(pages.length, guest.pages);
    assert.equal(pages[0].gpa, 0xffc8_4000n);
    assert.equal(pages[892].gpa, 0xffae_a000n);
    const digest = new LaunchDigest(nodeHash, Buffer.from(vectors.digest_after_images['svsm'], 'hex'));
    for (const { type, gpa, contents } of pages.slice(892 + 278)) digest.update(type, gpa, contents);
    assert.equal(hex(digest.digest), guest.launch_digest, guest.name);
  }
});

test('the digest of the firmware alone continues to the whole', () => {
  const firmware = parsed({ ...AMD_SEV, pages: 3 });
  const launch = { firmware, vcpus: 2, vcpuSignature: VCPU_TYPES['EPYC-Milan'] };
  const whole = measureGuestLaunch(nodeHash, launch);
  const continued = { ...launch, firmwareDigest: measureFirmware(nodeHash, firmware) };
  assert.deepEqual(measureGuestLaunch(nodeHash, continued), whole);
  const first = [...launchPages(launch)].slice(0, 3);
  assert.deepEqual(
    first.map(({ gpa }) => gpa),
    [0xffff_d000n, 0xffff_e000n, 0xffff_f000n],
  );
  const others = [
    { ...launch, vcpus: 3 },
    { ...launch, vcpuSignature: VCPU_TYPES['EPYC-Genoa'] },
    { ...launch, guestFeatures: 0x21n },
    { ...launch, vmm: 'ec2' as const },
    { ...launch, vmm: 'gce' as const },
    { ...launch, kernel: { kernel: EMPTY, initrd: EMPTY, cmdline: EMPTY } },
    { ...launch, firmware: parsed({ ...AMD_SEV, pages: 4 }) },
  ];
  const digests = new Set([whole, ...others.map((other) => measureGuestLaunch(nodeHash, other))].map(hex));
  assert.equal(digests.size, others.length + 1);
});

test('parts that do not go together are refused', () => {
  const launch = { firmware: parsed(AMD_SEV), vcpus: 1, vcpuSignature: 0 };
  const kernel = { kernel: EMPTY, initrd: EMPTY, cmdline: EMPTY };
  const measure = (more: Partial<GuestLaunch>) => () => measureGuestLaunch(nodeHash, { ...launch, ...more });
  const option = (more: Partial<GuestLaunch>, pattern: RegExp) =>
    refuses(measure(more), 'SNP_LAUNCH_OPTION', pattern);
  option({ firmware: parsed(OVMF_X64), kernel }, /no section for kernel hashes/);
  option({ vcpus: 0 }, /1 to 4096/);
  option({ vcpus: 1.5 }, /1 to 4096/);
  option({ vcpus: 5000 }, /1 to 4096/);
  option({ kernel: { ...kernel, initrd: new Uint8Array(31) } }, /initrd has 31 bytes/);
  const svsm = { image: parsed(SVSM), variablesSize: 0 };
  option({ svsm, vmm: 'gce' }, /QEMU only/);
  option({ svsm, kernel }, /takes no kernel/);
  option({ svsm: { ...svsm, variablesSize: 100 } }, /leaves no place/);
  option({ svsm: { ...svsm, variablesSize: 2 ** 33 } }, /leaves no place/);
  option({ firmware: parsed({ sections: [[0, 0x1000, 9]] }) }, /section of type 9/);
  const elsewhere = { ...AMD_SEV, sections: [[0x82_0000, 0x1000, 0x10]] as const };
  option({ firmware: parsed(elsewhere), kernel }, /another place for kernel hashes/);
  const noReset = parsed({ sections: AMD_SEV.sections ?? [] });
  assert.equal(measure({ firmware: noReset })().length, 48);
  refuses(measure({ firmware: noReset, vcpus: 2 }), 'SNP_FIRMWARE', /where further vCPUs start/);
  refuses(measure({ svsm: { image: noReset, variablesSize: 0 } }), 'SNP_FIRMWARE', /where it starts/);
  refuses(() => vcpuSignature(25, 256, 0), 'SNP_LAUNCH_OPTION', /model 256/);
});

test('images that are none, or that lie about themselves, are refused', () => {
  for (const size of [0, 4095, 64 * 1024 * 1024 + 4096])
    refuses(() => parseFirmware(new Uint8Array(size)), 'SNP_FIRMWARE', /whole pages/);
  assert.equal(parseFirmware(new Uint8Array(4096)).table.size, 0);
  const broken = (edit: (image: Uint8Array, view: DataView) => void): Uint8Array => {
    const image = synthesize(AMD_SEV);
    edit(image, new DataView(image.buffer));
    return image;
  };
  const footer = 4096 - 32 - 18;
  const metadata = 4096 - 2048;
  const cases: [RegExp, (image: Uint8Array, view: DataView) => void][] = [
    [/table of 5 bytes/, (_, v) => v.setUint16(footer, 5, true)],
    [/table of 65535 bytes/, (_, v) => v.setUint16(footer, 65535, true)],
    [/entry of 2 bytes/, (_, v) => v.setUint16(footer - 18, 2, true)],
    [/entry of 9000 bytes/, (_, v) => v.setUint16(footer - 18, 9000, true)],
    [/stray bytes/, (_, v) => v.setUint16(footer, v.getUint16(footer, true) + 3, true)],
    [/signature/, (image) => image.fill(0, metadata, metadata + 4)],
    [/version 2/, (_, v) => v.setUint32(metadata + 8, 2, true)],
    [/4294967295 metadata sections/, (_, v) => v.setUint32(metadata + 12, 0xffff_ffff, true)],
    [/7 metadata sections in 20 bytes/, (_, v) => v.setUint32(metadata + 4, 20, true)],
    [/metadata section at 0x800001/, (_, v) => v.setUint32(metadata + 16, 0x80_0001, true)],
    [/of 4294963200 bytes/, (_, v) => v.setUint32(metadata + 20, 0xffff_f000, true)],
  ];
  for (const [pattern, edit] of cases) refuses(() => parseFirmware(broken(edit)), 'SNP_FIRMWARE', pattern);
  const twice = [
    [RESET_BLOCK, u32(1)],
    [RESET_BLOCK, u32(2)],
  ] as const;
  refuses(() => parsed({ entries: twice }), 'SNP_FIRMWARE', /two table entries/);
});

test('random damage to an image is measured or refused, never anything else', () => {
  const image = synthesize(AMD_SEV);
  fc.assert(
    fc.property(fc.integer({ min: 2000, max: 4095 }), fc.integer({ min: 1, max: 255 }), (at, mask) => {
      const bad = image.slice();
      bad[at] ^= mask;
      try {
        const pages = launchPages({ firmware: parseFirmware(bad), vcpus: 2, vcpuSignature: 0 });
        for (const { type } of pages) assert.ok(type >= SNP_PAGE_TYPE.NORMAL && type <= SNP_PAGE_TYPE.CPUID);
      } catch (e) {
        assert.ok(e instanceof NsgxError, String(e));
      }
    }),
    { numRuns: 300 },
  );
});

test('GUIDs', () => {
  assert.equal(guidText(guidBytes(RESET_BLOCK)), RESET_BLOCK);
  assert.equal(hex(guidBytes('00112233-4455-6677-8899-aabbccddeeff')), '33221100554477668899aabbccddeeff');
});

test('the launch digest that openvmm expects of normal, unmeasured and shared pages', () => {
  const digest = new LaunchDigest(nodeHash);
  const marked = new Uint8Array(4096);
  marked[1] = 5;
  const zeros = new Uint8Array(4096);
  digest.update(SNP_PAGE_TYPE.NORMAL, 0n, marked);
  for (let page = 1n; page < 5n; page++) digest.update(SNP_PAGE_TYPE.NORMAL, page << 12n, zeros);
  for (let page = 5n; page < 10n; page++) digest.update(SNP_PAGE_TYPE.UNMEASURED, page << 12n, null);
  digest.update(SNP_PAGE_TYPE.NORMAL, 10n << 12n, marked);
  // microsoft/openvmm (MIT), igvmfilegen, test_snp_measurement
  const expected =
    '889a19386c82e2219bded3e92a764e8c00c29b966d04a662bca6cfdfec647b9051995653390783846557913263d71c4f';
  assert.equal(hex(digest.digest), expected);
});
