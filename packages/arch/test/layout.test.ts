import assert from 'node:assert/strict';
import test from 'node:test';
import * as arch from '../src/index.js';

/** Sizes and offsets as the manuals and Linux's headers give them; kept apart from the definitions on purpose. */
const SIZES: Record<string, number> = {
  SECS: 4096,
  TCS: 4096,
  GPRSGX: 184,
  EXINFO: 16,
  SECINFO: 64,
  PAGEINFO: 32,
  PCMD: 128,
  SIGSTRUCT: 1808,
  KEYREQUEST: 512,
  TARGETINFO: 512,
  REPORT: 432,
  REPORT_BODY: 384,
  EINITTOKEN: 304,
  ATTRIBUTES: 16,
  RMP_ENTRY: 16,
  VMSA: 4096,
  GHCB: 4096,
  SECRETS_PAGE: 4096,
  GUEST_MESSAGE: 0x60,
  MSG_REPORT_REQ: 0x60,
  MSG_REPORT_RSP: 0x4c0,
  MSG_KEY_REQ: 0x20,
  MSG_KEY_RSP: 0x40,
  ATTESTATION_REPORT: 0x4a0,
  PAGE_INFO: 0x70,
  TCB_VERSION: 8,
  TCB_VERSION_TURIN: 8,
  ID_BLOCK: 0x60,
  ID_AUTH: 4096,
  CPUID_FUNCTION: 48,
  CAA: 8,
  SVSM_ATTEST_OP: 0x40,
  QUOTE3_HEADER: 48,
  ADD_RANGE: 56,
};

const OFFSETS: Record<string, Record<string, number>> = {
  SECS: {
    SIZE: 0,
    BASEADDR: 8,
    SSAFRAMESIZE: 16,
    MISCSELECT: 20,
    ATTRIBUTES: 48,
    MRENCLAVE: 64,
    MRSIGNER: 128,
  },
  TCS: {
    STATE: 0,
    FLAGS: 8,
    OSSA: 16,
    CSSA: 24,
    NSSA: 28,
    OENTRY: 32,
    AEP: 40,
    OFSBASE: 48,
    OGSBASE: 56,
    FSLIMIT: 64,
    GSLIMIT: 68,
  },
  GPRSGX: {
    RAX: 0,
    R15: 120,
    RFLAGS: 128,
    RIP: 136,
    URSP: 144,
    URBP: 152,
    EXITINFO: 160,
    FSBASE: 168,
    GSBASE: 176,
  },
  PAGEINFO: { LINADDR: 0, SRCPGE: 8, SECINFO: 16, SECS: 24 },
  PCMD: { SECINFO: 0, ENCLAVEID: 64, MAC: 112 },
  SIGSTRUCT: {
    VENDOR: 16,
    DATE: 20,
    HEADER2: 24,
    SWDEFINED: 40,
    MODULUS: 128,
    EXPONENT: 512,
    SIGNATURE: 516,
    MISCSELECT: 900,
    MISCMASK: 904,
    CET_ATTRIBUTES: 908,
    CET_ATTRIBUTES_MASK: 909,
    ISVFAMILYID: 912,
    ATTRIBUTES: 928,
    ATTRIBUTEMASK: 944,
    ENCLAVEHASH: 960,
    ISVEXTPRODID: 1008,
    ISVPRODID: 1024,
    ISVSVN: 1026,
    Q1: 1040,
    Q2: 1424,
  },
  REPORT: {
    CPUSVN: 0,
    MISCSELECT: 16,
    ISVEXTPRODID: 32,
    ATTRIBUTES: 48,
    MRENCLAVE: 64,
    MRSIGNER: 128,
    CONFIGID: 192,
    ISVPRODID: 256,
    ISVSVN: 258,
    CONFIGSVN: 260,
    ISVFAMILYID: 304,
    REPORTDATA: 320,
    KEYID: 384,
    MAC: 416,
  },
  TARGETINFO: { MEASUREMENT: 0, ATTRIBUTES: 32, CONFIGSVN: 50, MISCSELECT: 52, CONFIGID: 64 },
  KEYREQUEST: {
    KEYNAME: 0,
    KEYPOLICY: 2,
    ISVSVN: 4,
    CPUSVN: 8,
    ATTRIBUTEMASK: 24,
    KEYID: 40,
    MISCMASK: 72,
    CONFIGSVN: 76,
  },
  VMSA: {
    TR: 0x90,
    PL0_SSP: 0xa0,
    U_CET: 0xc0,
    VMPL: 0xca,
    CPL: 0xcb,
    EFER: 0xd0,
    XSS: 0x140,
    CR4: 0x148,
    CR3: 0x150,
    CR0: 0x158,
    DR7: 0x160,
    DR6: 0x168,
    RFLAGS: 0x170,
    RIP: 0x178,
    RSP: 0x1d8,
    RAX: 0x1f8,
    STAR: 0x200,
    KERNEL_GS_BASE: 0x220,
    CR2: 0x240,
    G_PAT: 0x268,
    PKRU: 0x2e8,
    RCX: 0x308,
    R15: 0x378,
    GUEST_EXITINFO1: 0x390,
    GUEST_NRIP: 0x3a8,
    SEV_FEATURES: 0x3b0,
    VINTR_CTRL: 0x3b8,
    GUEST_EXITCODE: 0x3c0,
    VIRTUAL_TOM: 0x3c8,
    TLB_ID: 0x3d0,
    PCPU_ID: 0x3d8,
    EVENTINJ: 0x3e0,
    XCR0: 0x3e8,
    X87_DP: 0x400,
  },
  GHCB: {
    CPL: 0xcb,
    XSS: 0x140,
    DR7: 0x160,
    RAX: 0x1f8,
    RCX: 0x308,
    RDX: 0x310,
    RBX: 0x318,
    RBP: 0x328,
    RSI: 0x330,
    RDI: 0x338,
    R8: 0x340,
    R15: 0x378,
    SW_EXITCODE: 0x390,
    SW_EXITINFO1: 0x398,
    SW_EXITINFO2: 0x3a0,
    SW_SCRATCH: 0x3a8,
    XCR0: 0x3e8,
    VALID_BITMAP: 0x3f0,
    X87_STATE_GPA: 0x400,
    SHARED_BUFFER: 0x800,
    PROTOCOL_VERSION: 0xffa,
    GHCB_USAGE: 0xffc,
  },
  SECRETS_PAGE: {
    FMS: 8,
    GOSVW: 0x10,
    VMPCK0: 0x20,
    VMPCK3: 0x80,
    VMSA_TWEAK_BITMAP: 0x100,
    SVSM_BASE: 0x140,
    SVSM_SIZE: 0x148,
    SVSM_CAA: 0x150,
    SVSM_MAX_VERSION: 0x158,
    SVSM_GUEST_VMPL: 0x15c,
    TSC_FACTOR: 0x160,
  },
  GUEST_MESSAGE: {
    AUTHTAG: 0,
    MSG_SEQNO: 0x20,
    ALGO: 0x30,
    HDR_VERSION: 0x31,
    HDR_SIZE: 0x32,
    MSG_TYPE: 0x34,
    MSG_VERSION: 0x35,
    MSG_SIZE: 0x36,
    MSG_VMPCK: 0x3c,
  },
  PAGE_INFO: { DIGEST_CUR: 0, CONTENTS: 48, LENGTH: 0x60, PAGE_TYPE: 0x62, IMI_PAGE: 0x63, GPA: 0x68 },
  ATTESTATION_REPORT: {
    POLICY: 8,
    FAMILY_ID: 0x10,
    IMAGE_ID: 0x20,
    VMPL: 0x30,
    CURRENT_TCB: 0x38,
    PLATFORM_INFO: 0x40,
    FLAGS: 0x48,
    REPORT_DATA: 0x50,
    MEASUREMENT: 0x90,
    HOST_DATA: 0xc0,
    ID_KEY_DIGEST: 0xe0,
    AUTHOR_KEY_DIGEST: 0x110,
    REPORT_ID: 0x140,
    REPORT_ID_MA: 0x160,
    REPORTED_TCB: 0x180,
    CPUID_FAM_ID: 0x188,
    CHIP_ID: 0x1a0,
    COMMITTED_TCB: 0x1e0,
    CURRENT_BUILD: 0x1e8,
    COMMITTED_BUILD: 0x1ec,
    LAUNCH_TCB: 0x1f0,
    LAUNCH_MIT_VECTOR: 0x1f8,
    CURRENT_MIT_VECTOR: 0x200,
    SIGNATURE: 0x2a0,
  },
};

// biome-ignore lint/suspicious/noExplicitAny: structures of every shape
const structs: arch.Struct<any>[] = [];
for (const v of Object.values(arch) as unknown[]) {
  // biome-ignore lint/suspicious/noExplicitAny: as above
  if (typeof v === 'object' && v !== null && 'firstReservedNonZero' in v) structs.push(v as arch.Struct<any>);
}

test('every structure has the size of the manual', () => {
  for (const s of structs) {
    if (s.name in SIZES) assert.equal(s.size, SIZES[s.name], s.name);
  }
  for (const name of Object.keys(SIZES))
    assert.ok(
      structs.some((s) => s.name === name),
      `${name} is exported`,
    );
});

test('fields lie at the offsets of the manual', () => {
  for (const [name, fields] of Object.entries(OFFSETS)) {
    const s = structs.find((x) => x.name === name)!;
    for (const [field, offset] of Object.entries(fields)) {
      assert.equal((s.offsets as Record<string, number>)[field], offset, `${name}.${field}`);
    }
  }
});

test('decode then encode gives every structure back, reserved bytes apart', () => {
  for (const s of structs) {
    const bytes = new Uint8Array(s.size);
    for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 7 + 3) & 0xff;
    const again = s.encode(s.decode(bytes) as never);
    assert.equal(again.length, s.size);
    const blank = s.encode(s.decode(new Uint8Array(s.size).fill(0xff)) as never);
    for (let i = 0; i < s.size; i++) {
      // 0xff survives exactly where a field covers the byte.
      assert.equal(again[i], blank[i] === 0xff ? bytes[i] : 0, `${s.name} byte ${i}`);
    }
    assert.deepEqual(s.decode(again), s.decode(s.encode(s.decode(again) as never)));
    assert.equal(s.firstReservedNonZero(blank), -1, s.name);
  }
});

test('short input, wrong values and unknown fields are typed errors', () => {
  const code = (f: () => unknown, want: string) =>
    assert.throws(f, (e) => e instanceof arch.NsgxError && e.code === want && e.message.length > 0);
  code(() => arch.SECS.decode(new Uint8Array(4095)), 'CODEC_SHORT_INPUT');
  code(() => arch.SECINFO.decode(new Uint8Array(64), 1), 'CODEC_SHORT_INPUT');
  code(() => arch.SECINFO.decode(new Uint8Array(64), -1), 'CODEC_SHORT_INPUT');
  code(() => arch.SECINFO.decode('x' as never), 'CODEC_SHORT_INPUT');
  code(() => arch.SECS.encode({ SSAFRAMESIZE: 2 ** 32 }), 'CODEC_FIELD_RANGE');
  code(() => arch.SECS.encode({ SSAFRAMESIZE: 1.5 }), 'CODEC_FIELD_RANGE');
  code(() => arch.SECS.encode({ SIZE: -1n }), 'CODEC_FIELD_RANGE');
  code(() => arch.SECS.encode({ SIZE: 1n << 64n }), 'CODEC_FIELD_RANGE');
  code(() => arch.SECS.encode({ SIZE: 4096 as never }), 'CODEC_FIELD_RANGE');
  code(() => arch.SECS.encode({ MRENCLAVE: new Uint8Array(31) }), 'CODEC_FIELD_LENGTH');
  code(() => arch.SECS.encode({ BASE: 1 } as never), 'CODEC_UNKNOWN_FIELD');
  code(() => arch.struct('X', 4, { A: arch.at(0, arch.u32), B: arch.at(2, arch.u16) }), 'CODEC_LAYOUT');
  code(() => arch.struct('X', 4, { A: arch.at(2, arch.u32) }), 'CODEC_LAYOUT');
});

test('patch leaves other bytes alone and encodeInto clears them', () => {
  const b = new Uint8Array(70).fill(0xaa);
  arch.SECINFO.patch({ FLAGS: 0x203n }, b, 3);
  assert.equal(b[3 + 8], 0xaa);
  assert.equal(arch.SECINFO.decode(b, 3).FLAGS, 0x203n);
  arch.SECINFO.encodeInto({ FLAGS: 0x100n }, b, 3);
  assert.equal(b[3 + 63], 0);
  assert.equal(b[2], 0xaa);
  assert.equal(b[3 + 64], 0xaa);
  b[3 + 40] = 1;
  assert.equal(arch.SECINFO.firstReservedNonZero(b, 3), 40);
});

test('decoded byte strings are copies', () => {
  const b = new Uint8Array(4096);
  const { MRENCLAVE } = arch.SECS.decode(b);
  b[64] = 1;
  assert.equal(MRENCLAVE[0], 0);
  const { MRENCLAVE: fromBuffer } = arch.SECS.decode(Buffer.from(b));
  assert.equal(fromBuffer.constructor, Uint8Array);
  assert.equal(fromBuffer[0], 1);
});

test('constants keep their numbers', () => {
  assert.equal(arch.sgxErrorName(4), 'SGX_INVALID_MEASUREMENT');
  assert.equal(arch.sgxErrorName(16), 'SGX_INVALID_EINITTOKEN');
  assert.equal(arch.sgxErrorName(999), 'SGX_ERROR_999');
  assert.equal(arch.ENCLS.EINIT, 2);
  assert.equal(arch.ENCLS.EMODT, 15);
  assert.equal(arch.ENCLU.EACCEPTCOPY, 7);
  assert.equal(arch.SVSM.INVALID_PARAMETER, 0x80000005);
  assert.equal(arch.svsmResultName(0x80000003), 'SVSM_INVALID_ADDRESS');
  assert.equal(arch.GHCB_EXIT.SNP_RUN_VMPL, 0x80000018);
  assert.equal(arch.exitInfo(14), 0x8000030e);
  assert.equal(arch.exitInfo(3), 0x80000603);
});

test('GHCB valid bits and RMP entries', () => {
  const bitmap = new Uint8Array(16);
  arch.ghcbSetValid(bitmap, arch.GHCB.offsets.RAX);
  assert.equal(bitmap[7], 0x80, 'RAX is quadword 63');
  arch.ghcbSetValid(bitmap, arch.GHCB.offsets.SW_EXITCODE);
  assert.equal(bitmap[14], 1 << 2, 'SW_EXITCODE is quadword 114');
  assert.ok(arch.ghcbIsValid(bitmap, arch.GHCB.offsets.RAX));
  assert.ok(!arch.ghcbIsValid(bitmap, arch.GHCB.offsets.RCX));
  const fields: arch.RmpEntryFields = {
    ASSIGNED: true,
    PAGE_SIZE: 1,
    IMMUTABLE: false,
    GPA: 0x1234567000n,
    ASID: 513,
    VMSA: true,
    VALIDATED: true,
  };
  assert.deepEqual(arch.unpackRmpEntry(arch.packRmpEntry(fields)), fields);
  assert.equal(arch.packRmpEntry({ ...fields, ASID: 0, GPA: 0n, VALIDATED: false }), (1n << 61n) | 3n);
});
