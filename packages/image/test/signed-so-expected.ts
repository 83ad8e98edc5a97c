/**
 * What Intel's own signing tool makes of the sample enclaves: digests of files that sgx_sign wrote, of the release that
 * each sample names (2.26 unless it says another), with the key below, on 31 January 2026 by its clock.
 */
import type { UnsignedSoInit } from './unsigned-so-samples.js';

/** A key for these tests only. */
export const TEST_KEY = `-----BEGIN RSA PRIVATE KEY-----
MIIG4gIBAAKCAYEAsHzim2Ra0cEWibmYjOvskWY4saeEwsP9K4HQM8dqJFG1OKhX
QIB4n2zGQlsWXoyLMc0MleQQpdy4mAl3GGYGWFSW6WGlFEhWNBBBwk8s1D9Rn2K/
fW2UhbtYdtfJRx4c9Vf5gX/vFcIT7RTQQRRNSrKgAmdQUcPHmB4kqW4ML3IxtYjQ
bYTBUyEPueZhmSbHZIjwsROXcRXogF1le9j3aTXdfSM/AwzwpsDagp6Mznaw24IS
pTUKrKzdJfKELOC3s8ayidCbKCdfzPah+3Q30oi7h6wvtOP+SLx5zuIsKJahXQlV
qhMbVr1CwZDmNzoucU5XpYf4j19TAVBNTEUAtSb2Wj1BrdKGrnAyPU8MyKYviSG6
PZqTV/gubY+dbwdTINinyjfMcXA/H4loIQ5fOljhrp5kcq4lqkgDCFG6iwmfdcne
ZL0KFPy+JyY1HQjL4aDtyD9Qo1UkzZwhi6EZEHiWJDn0r153xj46beRsRWnZ8nZf
evQX0KYxIkFGOBKnAgEDAoIBgHWolxJC5zaAubEmZbNH8wuZeyEaWIHX/h0BNXfa
RsLhI3sa5NWq+xTzLtbnZD8IXMveCGPtYG6TJbqw+hBEBDrjD0ZBGLgwOXgK1oGK
HeLU4RTsf6jzuFknkE86hi9paKOP+6uqn2PWt/NjNYC4M4chwAGaNYvX2mVpbcZJ
XXT2y85bNZ5YgOIWCnvu67tvL5hbSyC3uktj8FWTmP07T5t5PlNs1KyzSxnV5wG/
CImkdeesDG4jXHMd6MP3AsiVzrHGANaQJvJ75CA3EQNb8V2dDVBXEABadaK/wAqf
DmB4Uxjv1RVzf+5j505zqYdGTXLKLqXOFqwGmqdE07iSnCLUJ9Pytxd5W2f/Qh6j
n2WCIA6ocVFvYwnX6DP3k9fZaq/G7+mNO1EcIhWcuMaDN/bZbhb1DAFVi2t0LVfS
ZHwAEEQl1ENPeDA01sqBmQn2aGsKEKdOM9584E+xEvRXIkboXugdYjfu/JdmDlK+
N9/g5q+2UwNEWNJDCJzxe6aNOwKBwQDUrn0rmcA5FgQn3fp440Jfta08FINQYhzS
g4mZWiFVJdjCDrwlLSKuTAJMh5tOMQCfUaR4cNQ1Pq+jQl9rv6nIvvu1+9u5k1X/
FA/L74lv0DkjhHteZLKkRJeCZKbzYIj7ezzTfvtRSkixYiT7PXAhj9MFW7Ntd7Ap
r5RqZrWFA9damAWZg+NeZiJx9z85BFL4ouEk+oj30uiPJ8DMm6hgmATTasQbvAll
el3CYu1VqTjmhtvnQGsnVnLKXaJiGC0CgcEA1G80HF6gg1eFdMYN/YcLZmd6UxUU
Y/oxAhlQJZl1QrxL9ZLZ5Li4wttlf1vMnh+5pc1tNGICWBa7YyawS6lsuCm+5lVT
UQknk10/Q2oUQJLGT6CU5Q7MJO+6nTeYt+CqHbMDGGT4JnvDTbwt/AwbJoLphtMf
AzYkX2oqmi9uTAWvtPkaZkHybkdZhWyQVRLcSG7zqE953cbrxurEUIK9RYQC9KMd
P7vzfarHL2QrH+9HBF4HDs0nbesxbHlqXCajAoHBAI3JqMe71XtkAsU+pvtCLD/O
c31jAjWWveGtBmY8FjjD5da0fW4eFx7dVt2vvN7LVb+Lwvr14s4pymzW6kfVG9sp
/SP9PSZiOVS4Cof1BkqK0MJYUj7tzG2DD6xDGfeVsKenfeJUp4uG2yDsGKd+SsEK
jK49Ikj6dXEfuEbvI64Cj5G6rmZX7OmZbEv6KiYC4fsXQMNRsKU3RbTFKzMScEBl
WIzx2BJ9W5j8PoGXSOPGJe8Ekpoq8ho5odw+bEFlcwKBwQCNn3gS6cBXj65N2V6p
BLJERPw3Y2LtUXYBZjVuZk4sfYf5DJFDJdCB55j/kohpanvD3kjNlqw6udJCGcrd
G53QG9SZjjeLW2+3k3+CRrgrDIQ1FbiYtIgYn9G+JRB6lca+d1dlmKVu/SzefXP9
XWdvAfEEjL9XeW2U8XG8H57dWR/N+2bu1qGe2juuSGA4tz2Fn00a36aT2fKEnILg
VyjZAqyjF2jVJ/epHITKQsdqn4StlAS0iMTz8iDy+5w9bxcCgcAvGyPhKp/Pm6pM
FKsMgAX7NDPlWAkzUCFPSx/ypZ6shYAPO2eVzCxJzERRO4ELvCxI24JBYIUC/Moq
+G2uu/UATWeOpzxPJ2VyrLxECQIkWjNx+4Hi+SRVq2wzwT9Iy8EVt5/VxLpcLhO+
aJyszGF5An7z32iTwE7KhxRf2mubldWJUMY6773y6i2Qwb3wDRAWgSjcCtRtkhkq
Hr3lSt2m/pA6KEbo6+wfihiETqFDF/CQ7ZB7LZcG9fSgh1d8Kxk=
-----END RSA PRIVATE KEY-----
`;
export const TEST_DATE = '20260131';

/** One file of sgx_sign. */
export interface ExpectedSignedSo {
  readonly name: string;
  /** The sample enclave. */
  readonly so: UnsignedSoInit;
  /** Elements of Enclave.config.xml as they were written. */
  readonly config: Readonly<Record<string, string | number>>;
  /** Versions of its metadata blocks. */
  readonly versions: string;
  readonly mrenclave: string;
  /** SHA-256 of the whole `.signed.so`. */
  readonly sha256: string;
}

export const EXPECTED_SIGNED_SO: readonly ExpectedSignedSo[] = [
  {
    name: 'defaults',
    so: {},
    config: {},
    versions: '1.5',
    mrenclave: '5a83ef192954ee4365dffbfde5a65ba2de8a1989df1c7c27377082c6477dbf68',
    sha256: '7bfa6eb722591c6b9eee6daeed59e951508aebbe7d8674e94f55f6375cc19106',
  },
  {
    name: 'sizes in all three number systems',
    so: {},
    config: {
      ProdID: 7,
      ISVSVN: '0x10',
      StackMaxSize: '0x40000',
      StackMinSize: 16384,
      HeapMaxSize: '04000000',
      HeapMinSize: '0x2000',
      HeapInitSize: '0x3000',
    },
    versions: '1.5',
    mrenclave: 'e7c88f68883b2740021d014100dd5accb4f10ec12c4c39ab22185e5b248af16a',
    sha256: '220e1e3673215f1cb6ed0e8b9084111f413d6db415b33345da8ac140744e7f87',
  },
  {
    name: 'ten threads, both kinds of loaders',
    so: { tls: { size: 300, align: 64 } },
    config: { HeapMaxSize: '0x100000', TCSNum: 10, TCSPolicy: 1, MiscSelect: 1, MiscMask: '0xFFFFFFFE' },
    versions: '3.3 1.5',
    mrenclave: '1a07bf73b8e8dd140854f7c558b7d91979b9f94f7bebe4c2a9ebc4ff9d371f86',
    sha256: '4088550990454630d58f1ad9dd2a247c04fe85f836ded884b2f105d61aa5aba8',
  },
  {
    name: 'ten threads, no pool',
    so: { tls: { size: 5000, align: 16 } },
    config: {
      TCSNum: 10,
      TCSPolicy: 0,
      TCSMinPool: 0,
      MiscSelect: 1,
      MiscMask: '0xFFFFFFFE',
      HeapInitSize: '0x10000',
    },
    versions: '3.3 1.5',
    mrenclave: 'bd47e0427ea906b30997993420b60ab2504a06af0ec862871fcbc64066877fd3',
    sha256: '19b170a9e78df7a460b424701c4a9ff71e5eeb481d51b4a33ad7431bedce48b8',
  },
  {
    name: 'dynamic memory only',
    so: {},
    config: {
      TCSNum: 3,
      TCSMaxNum: 8,
      TCSMinPool: 2,
      HeapMinSize: '0x4000',
      HeapInitSize: '0x4000',
      HeapMaxSize: '0x40000',
      MiscSelect: 1,
      MiscMask: '0xFFFFFFFF',
    },
    versions: '3.3',
    mrenclave: '876c42f0afe09b9364a263a8ede8c9e01b31b13db323cb7a84a00c29e6df292a',
    sha256: '360d614742365cc9b72c5c2688a7c1300d4c00b84d918122e6454d6e32c005b7',
  },
  {
    name: 'a user region',
    so: {},
    config: { UserRegionSize: '0x2000000', MiscSelect: 1, MiscMask: 1, TCSNum: 2 },
    versions: '3.3',
    mrenclave: '58e178d15518b68296c9951b22d8e226b2f5453f63690c59c915abda0b0c7b2f',
    sha256: 'b85cbf2a47307bf26b6ad9563a5c61311dea5f4a31b92da00f413f498376c0ce',
  },
  {
    name: 'nothing grows',
    so: {},
    config: {
      StackMaxSize: '0x4000',
      StackMinSize: '0x4000',
      HeapMaxSize: '0x10000',
      HeapMinSize: '0x10000',
      HeapInitSize: '0x10000',
      TCSNum: 1,
      TCSMaxNum: 1,
      MiscSelect: 1,
      MiscMask: 0,
    },
    versions: '1.5',
    mrenclave: 'c8fb04f00252c0ab9d8784f43134f8d6b0d4e0ed7ee67ed0927e0e7edde03760',
    sha256: '8bd9567c252aabdde03fe8f55ba8b5081a6ae6742ab9e315622ba8462eedce4d',
  },
  {
    name: 'reserved memory behind one thread',
    so: {},
    config: {
      ReservedMemMaxSize: '0x10000',
      ReservedMemMinSize: '0x2000',
      ReservedMemInitSize: '0x5000',
      ReservedMemExecutable: 1,
      MiscSelect: 1,
      MiscMask: '0xFFFFFFFE',
    },
    versions: '3.3 1.5',
    mrenclave: '51b5e314146bffc305a946134b4ae1bcfd3171b7b3d79639ae235551e613381d',
    sha256: '0ee4337db14b33764d058d89a0eaffe36e56c531eaf9e7b292d3da29142a33dd',
  },
  {
    name: 'reserved memory behind threads',
    so: {},
    config: {
      TCSNum: 4,
      TCSMaxNum: 6,
      TCSMinPool: 1,
      ReservedMemMaxSize: '0x10000',
      ReservedMemMinSize: '0x2000',
      ReservedMemInitSize: '0x5000',
      MiscSelect: 1,
      MiscMask: '0xFFFFFFFE',
    },
    versions: '3.3 1.5',
    mrenclave: '472b69fac7584085273eee6196e675c31881327d4d715793d10f8b877b9936c4',
    sha256: 'fcfd020e4bf3f075f156fc9e7ad42998e6d6dd5c9b82b33a3a347431498bde93',
  },
  {
    name: 'reserved memory alone, without EDMM',
    so: {},
    config: { ReservedMemMaxSize: '0x3000', TCSNum: 2 },
    versions: '1.5',
    mrenclave: '4a90b771a17bc0bdee7757e111f39b403ba43e93489799f687c0244eeba431ab',
    sha256: 'abfa035e59369e4b7801188a377fc15ff09a1a377fc1118f8f098c8ef7a20deb',
  },
  {
    name: 'key separation',
    so: {},
    config: {
      EnableKSS: 1,
      ISVFAMILYID_H: '0x0123456789ABCDEF',
      ISVFAMILYID_L: '0xFEDCBA9876543210',
      ISVEXTPRODID_H: 1,
      ISVEXTPRODID_L: '0xFFFFFFFFFFFFFFFF',
      ProvisionKey: 1,
      DisableDebug: 1,
    },
    versions: '1.5',
    mrenclave: '5a83ef192954ee4365dffbfde5a65ba2de8a1989df1c7c27377082c6477dbf68',
    sha256: '1ea74fa52a91d23f17cd9d2254ab1ddf54d64815eb7cfc7342b1cb079deae839',
  },
  {
    name: 'a launch enclave of Intel',
    so: {},
    config: { HW: 16, LaunchKey: 1, IntelSigned: 1 },
    versions: '1.5',
    mrenclave: '5a83ef192954ee4365dffbfde5a65ba2de8a1989df1c7c27377082c6477dbf68',
    sha256: '0f1554bb90a758fab182a56418035ee14e6232b5d8a39ed55e5af14b8bd95110',
  },
  {
    name: 'ELRANGE',
    so: {},
    config: {
      ELRangeSize: '0x8000000',
      ELRangeStartAddress: '0x40000000',
      EnclaveImageAddress: '0x40010000',
      HeapMaxSize: '0x20000',
      MiscSelect: 1,
      MiscMask: '0xFFFFFFFE',
      TCSNum: 2,
    },
    versions: '13.3 11.5',
    mrenclave: 'ee2a5e102c57ab53f6a8be5e4f2ee2ebffc898a68741a59f0a9feedc115c0622',
    sha256: 'ccfe089cbf7e04956367f1a6d9dacf0e922384fab5b3ecafda833482b3248d4d',
  },
  {
    name: 'ELRANGE from 0',
    so: {},
    config: { ELRangeSize: '0x4000000', EnclaveImageAddress: '0x2000' },
    versions: '11.5',
    mrenclave: '58548002a060cd19b8d084f35e7e3808a5d65630ec84998f18de06d54f3c30df',
    sha256: '066b9f3bee5f9c7a07e0992d60ef031962fee03903d453579bf1472bb4d42c51',
  },
  {
    name: 'AEX-Notify, PKRU and AMX on',
    so: {},
    config: { EnableAEXNotify: 1, PKRU: 1, AMX: 1, TCSNum: 2 },
    versions: '1.5',
    mrenclave: '4484ce4b3a484b5c0c08572e3c6a038002caef637f802cfd5860450fd494967a',
    sha256: 'e0e7d950ec2ba753164f5859f1b98e3af2b1b7a63b952dec65a2e1e5a50532e6',
  },
  {
    name: 'the loader chooses PKRU and AMX',
    so: {},
    config: { PKRU: 2, AMX: 2 },
    versions: '1.5',
    mrenclave: '7c8c11979186501ab78c2ef866137a78d687e69475295200034365a91677b20f',
    sha256: '8c007fc42969ad5b65b92495930bc01020730fee2dedba0b278fd0aef81c42ac',
  },
  {
    name: 'text relocations',
    so: { relocations: [0x8fc, 0xffc, 0x1000, 0x4800], textrel: true },
    config: { TCSNum: 2 },
    versions: '1.5',
    mrenclave: 'cf2af9fce07a70dc0a60d5f63286a57fb41aab981031a1c3511c54f19fc707d5',
    sha256: '982bbb2e471db52ae7878b833951db6e66702cbd63176a285ad8a7aafe526c8b',
  },
  {
    name: 'no .bss',
    so: { bss: 0 },
    config: { HeapMinSize: 0, HeapInitSize: 0, MiscSelect: 1, MiscMask: 1 },
    versions: '3.3',
    mrenclave: '1e0457ab1e76827734c22d8ad8a0296ec2ebc69c8165aa4e5bccafd9d764ff30',
    sha256: '52d3694c7dfab394e70edcb6f3fb307dff5908cced4cb07a52a41ce8f2eb613a',
  },
  {
    name: 'SDK 2.20',
    so: { sdk: 20, room: 0x5000 },
    config: { TCSNum: 3, HeapMaxSize: '0x20000', MiscSelect: 3, MiscMask: '0xFFFFFFFC' },
    versions: '3.0 1.4',
    mrenclave: '71be23dc1fb62bdac80132bfd29774caabc6eefa3eb9674e887e4cc9640daeb8',
    sha256: '0c14e4ebdbd0781c61ac8cb09b1c3541c8cfe570468a774b115c6119c00ac21d',
  },
  {
    name: 'SDK 2.20 with an ELRANGE',
    so: { sdk: 20, room: 0x5000 },
    config: {
      TCSNum: 3,
      ELRangeSize: '0x8000000',
      EnclaveImageAddress: '0x2000',
      MiscSelect: 3,
      MiscMask: 1,
    },
    versions: '13.0',
    mrenclave: '4d29bcf09d511643ffa3d6767ec9d61d2348bf9c39debc9f11a68203cb951a9a',
    sha256: '3218418b5331d6026ccf399b79d75b61949ce6ba9d5700f022363f0b67d85428',
  },
  {
    name: 'SDK 2.21',
    so: { sdk: 21, room: 0x5000 },
    config: { TCSNum: 3, HeapMaxSize: '0x20000', MiscSelect: 3, MiscMask: '0xFFFFFFFC' },
    versions: '3.0 1.4',
    mrenclave: '71be23dc1fb62bdac80132bfd29774caabc6eefa3eb9674e887e4cc9640daeb8',
    sha256: 'f316344c4c8fd5d6e3cd4f740ae13edb84418bf886f22c8abec2cf12db9412ae',
  },
  {
    name: 'SDK 2.21 with an ELRANGE',
    so: { sdk: 21, room: 0x5000 },
    config: {
      TCSNum: 3,
      ELRangeSize: '0x8000000',
      EnclaveImageAddress: '0x2000',
      MiscSelect: 3,
      MiscMask: 1,
    },
    versions: '13.0',
    mrenclave: '4d29bcf09d511643ffa3d6767ec9d61d2348bf9c39debc9f11a68203cb951a9a',
    sha256: 'b46caec02e655367f1f424fe13dd5c178ff6d73830d75769258f614688340852',
  },
  {
    name: 'SDK 2.22',
    so: { sdk: 22, room: 0x5000 },
    config: { TCSNum: 3, HeapMaxSize: '0x20000', MiscSelect: 3, MiscMask: '0xFFFFFFFC' },
    versions: '3.1 1.4',
    mrenclave: '71be23dc1fb62bdac80132bfd29774caabc6eefa3eb9674e887e4cc9640daeb8',
    sha256: 'fa4d1c042a422318b611d2da2ae6094094e8c6c02dde55839a8ad842d2de7c0e',
  },
  {
    name: 'SDK 2.22 with an ELRANGE',
    so: { sdk: 22, room: 0x5000 },
    config: {
      TCSNum: 3,
      ELRangeSize: '0x8000000',
      EnclaveImageAddress: '0x2000',
      MiscSelect: 3,
      MiscMask: 1,
    },
    versions: '13.1',
    mrenclave: '4d29bcf09d511643ffa3d6767ec9d61d2348bf9c39debc9f11a68203cb951a9a',
    sha256: '4e61e2f0a73f24511a656d2118166658a8dbd7b96bace8536598ee195233ffa8',
  },
  {
    name: 'SDK 2.23',
    so: { sdk: 23, room: 0x5000 },
    config: { TCSNum: 3, HeapMaxSize: '0x20000', MiscSelect: 3, MiscMask: '0xFFFFFFFC' },
    versions: '3.1 1.4',
    mrenclave: '71be23dc1fb62bdac80132bfd29774caabc6eefa3eb9674e887e4cc9640daeb8',
    sha256: '6c53f99e40726f18d0d295a937a6481fab7d231b50700d950a006993ded37175',
  },
  {
    name: 'SDK 2.23 with an ELRANGE',
    so: { sdk: 23, room: 0x5000 },
    config: {
      TCSNum: 3,
      ELRangeSize: '0x8000000',
      EnclaveImageAddress: '0x2000',
      MiscSelect: 3,
      MiscMask: 1,
    },
    versions: '13.1',
    mrenclave: '4d29bcf09d511643ffa3d6767ec9d61d2348bf9c39debc9f11a68203cb951a9a',
    sha256: 'f203583ead979e9f52531555dd7aa3308f0b8990e7a2d775116331ffce91a18a',
  },
  {
    name: 'SDK 2.24',
    so: { sdk: 24, room: 0x6000 },
    config: { TCSNum: 3, HeapMaxSize: '0x20000', MiscSelect: 3, MiscMask: '0xFFFFFFFC' },
    versions: '3.2 1.5',
    mrenclave: 'ff8fed8b29dae8f8a0f8d4dbcdbaad8e2348fe9ce802ad192bcc2d2f9b07d622',
    sha256: 'dfa821810259b744e6497c71a7995d157f04e3a78fa0b5b725f5f8eff0d4b017',
  },
  {
    name: 'SDK 2.24 with an ELRANGE',
    so: { sdk: 24, room: 0x6000 },
    config: {
      TCSNum: 3,
      ELRangeSize: '0x8000000',
      EnclaveImageAddress: '0x2000',
      MiscSelect: 3,
      MiscMask: 1,
    },
    versions: '13.2',
    mrenclave: 'aa7f32b89dcf64adab12be042333cc42a76daa16823483ec9dbf727f160312c0',
    sha256: 'd6983aa8c17155c1016990e19c92e6e95aaef6cc941abcba5d4f21d65b29d785',
  },
  {
    name: 'SDK 2.25',
    so: { sdk: 25, room: 0x6000 },
    config: { TCSNum: 3, HeapMaxSize: '0x20000', MiscSelect: 3, MiscMask: '0xFFFFFFFC' },
    versions: '3.2 1.5',
    mrenclave: '82925722df6d4bd446dbf138ef7c292c73f9cfeeb6c671887a216ebe6d8871f5',
    sha256: '0d8e063abdebf0116811911d6b25a3452e1b095ba83cdf6eb7acda226ebb02e6',
  },
  {
    name: 'SDK 2.25 with an ELRANGE',
    so: { sdk: 25, room: 0x6000 },
    config: {
      TCSNum: 3,
      ELRangeSize: '0x8000000',
      EnclaveImageAddress: '0x2000',
      MiscSelect: 3,
      MiscMask: 1,
    },
    versions: '13.2',
    mrenclave: 'aa7f32b89dcf64adab12be042333cc42a76daa16823483ec9dbf727f160312c0',
    sha256: '34dfa547e78f7ab1c2f8e807d47c373e9a9f5ff966ae60903e27a0c6f98832eb',
  },
  {
    name: 'SDK 2.27',
    so: { sdk: 27 },
    config: { TCSNum: 3, HeapMaxSize: '0x20000', MiscSelect: 3, MiscMask: '0xFFFFFFFC' },
    versions: '3.3 1.5',
    mrenclave: '82925722df6d4bd446dbf138ef7c292c73f9cfeeb6c671887a216ebe6d8871f5',
    sha256: 'ecb6dc91615e32dd96a140eed7eef0af41d4a87e2e7f91ca56d479be7fb2472b',
  },
  {
    name: 'SDK 2.28',
    so: { sdk: 28 },
    config: { TCSNum: 3, HeapMaxSize: '0x20000', MiscSelect: 3, MiscMask: '0xFFFFFFFC' },
    versions: '3.3 1.5',
    mrenclave: '82925722df6d4bd446dbf138ef7c292c73f9cfeeb6c671887a216ebe6d8871f5',
    sha256: '1f1b4c6e5203057b157f709e9a26a865508927de7f5af7e6f65677a8265e2a78',
  },
  {
    name: 'SDK 2.29',
    so: { sdk: 29 },
    config: { TCSNum: 3, HeapMaxSize: '0x20000', MiscSelect: 3, MiscMask: '0xFFFFFFFC' },
    versions: '3.3 1.5',
    mrenclave: '82925722df6d4bd446dbf138ef7c292c73f9cfeeb6c671887a216ebe6d8871f5',
    sha256: 'cf97da47cff652582e80421ca9267d899a6c8fee7245075bae8574add63b5c20',
  },
  {
    name: 'SDK 2.30',
    so: { sdk: 30 },
    config: { TCSNum: 3, HeapMaxSize: '0x20000', MiscSelect: 3, MiscMask: '0xFFFFFFFC' },
    versions: '3.3 1.5',
    mrenclave: '82925722df6d4bd446dbf138ef7c292c73f9cfeeb6c671887a216ebe6d8871f5',
    sha256: 'cb057c371cf833f3a76b667a8a4ecd6f62a5b1e59056ebec3d2166fbef4e88e1',
  },
];
