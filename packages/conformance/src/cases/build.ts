/**
 * Building enclaves through the driver: what ECREATE, EADD, EEXTEND and EINIT accept. Source: Intel SDM Vol. 3D, their
 * operations; errno values as arch/x86/kernel/cpu/sgx/ioctl.c of Linux gives them.
 */
import assert from 'node:assert/strict';
import { PT_VA, SECINFO_W, SIGSTRUCT } from '@nestedsgx/arch';
import type { CaseContext, ConformanceCase } from '../case.js';
import type { PlatformEnclave } from '../platform.js';
import {
  AT,
  type ProbeOptions,
  probePages,
  probeSecs,
  probeSigstruct,
  REG_RW,
  TCS_PAGE,
} from '../probe/image.js';
import { refuses } from './expect.js';

const page = () => new Uint8Array(4096);

/** A created, empty enclave. */
function created(c: CaseContext, options: ProbeOptions = {}): PlatformEnclave {
  const e = c.closing(c.platform.open(AT.SIZE));
  e.create(probeSecs(e.base, options));
  return e;
}

/** A probe with every page added; `change` edits the SIGSTRUCT before EINIT is tried. */
function initialise(
  c: CaseContext,
  change: (sigstruct: Uint8Array, e: PlatformEnclave) => void,
  options: ProbeOptions = {},
): () => void {
  const e = created(c, options);
  const pages = probePages(options);
  for (const run of pages) e.add(run);
  const sigstruct = probeSigstruct(pages, options, c.key);
  change(sigstruct, e);
  return () => e.init(sigstruct, 1);
}

/** ECREATE with one byte of the SECS changed. */
function badSecs(
  id: string,
  title: string,
  edit: (secs: DataView) => void,
  errno = 'EINVAL|EIO',
): ConformanceCase {
  return {
    leaf: 'ECREATE',
    id,
    title,
    run: (c) => {
      const e = c.closing(c.platform.open(AT.SIZE));
      const secs = probeSecs(e.base, {});
      edit(new DataView(secs.buffer));
      assert.throws(
        () => e.create(secs),
        (error: unknown) => errno.split('|').includes((error as { errno?: string }).errno ?? ''),
      );
    },
  };
}

/** Cases of ECREATE, EADD, EEXTEND and EINIT. */
export const BUILD_CASES: readonly ConformanceCase[] = [
  badSecs('size-power-of-two', 'SIZE that is no power of two is refused', (v) =>
    v.setBigUint64(0, 0x3000n, true),
  ),
  badSecs('baseaddr-aligned', 'BASEADDR that is not aligned to SIZE is refused', (v) =>
    v.setBigUint64(8, v.getBigUint64(8, true) + 4096n, true),
  ),
  badSecs('ssaframesize', 'SSAFRAMESIZE that cannot hold the state of XFRM is refused', (v) =>
    v.setUint32(16, 0, true),
  ),
  badSecs('xfrm-legacy', 'XFRM without x87 and SSE is refused', (v) => v.setBigUint64(56, 1n, true)),
  badSecs(
    'attributes-reserved',
    'Reserved ATTRIBUTES bits are refused',
    (v) => v.setBigUint64(48, v.getBigUint64(48, true) | (1n << 40n), true),
    'EINVAL|EIO|EACCES',
  ),
  badSecs('reserved', 'Reserved SECS bytes that are not 0 are refused', (v) => v.setUint8(300, 1)),
  {
    leaf: 'ECREATE',
    id: 'twice',
    title: 'A file has one enclave: creating again is EINVAL',
    run: (c) => {
      const e = created(c);
      refuses('EINVAL', () => e.create(probeSecs(e.base, {})));
    },
  },
  {
    leaf: 'EADD',
    id: 'occupied',
    title: 'A linear address that has a page is refused with EBUSY',
    run: (c) => {
      const e = created(c);
      e.add({ offset: AT.DATA, data: page(), flags: REG_RW, measured: true });
      refuses('EBUSY', () => e.add({ offset: AT.DATA, data: page(), flags: REG_RW, measured: true }));
    },
  },
  {
    leaf: 'EADD',
    id: 'outside',
    title: 'A page outside the ELRANGE is EINVAL',
    run: (c) => {
      const e = created(c);
      refuses('EINVAL', () => e.add({ offset: AT.SIZE, data: page(), flags: REG_RW, measured: false }));
    },
  },
  {
    leaf: 'EADD',
    id: 'page-type',
    title: 'A page type that EADD does not take is EINVAL',
    run: (c) => {
      const e = created(c);
      refuses('EINVAL', () => e.add({ offset: 0, data: page(), flags: PT_VA << 8, measured: false }));
    },
  },
  {
    leaf: 'EADD',
    id: 'write-without-read',
    title: 'W without R is EINVAL',
    run: (c) => {
      const e = created(c);
      refuses('EINVAL', () => e.add({ offset: 0, data: page(), flags: SECINFO_W | 0x200, measured: false }));
    },
  },
  {
    leaf: 'EADD',
    id: 'tcs-reserved',
    title: 'A TCS with reserved bytes that are not 0 is refused',
    run: (c) => {
      const e = created(c);
      const tcs = page().fill(1, 100, 101);
      assert.throws(() => e.add({ offset: 0, data: tcs, flags: TCS_PAGE, measured: false }));
    },
  },
  {
    leaf: 'EADD',
    id: 'after-einit',
    title: 'After EINIT nothing can be added',
    run: (c) => {
      const p = c.probe();
      refuses('EINVAL', () =>
        p.enclave.add({ offset: AT.FREE, data: page(), flags: REG_RW, measured: false }),
      );
    },
  },
  {
    leaf: 'EEXTEND',
    id: 'contents-measured',
    title: 'One changed byte of a measured page changes MRENCLAVE, so EINIT refuses the old signature',
    run: (c) => {
      const e = created(c);
      const pages = probePages({});
      for (const run of pages) {
        const data = run.data.slice();
        if (run.offset === AT.CONSTANT) data[17] ^= 1;
        e.add({ ...run, data });
      }
      refuses('EPERM', () => e.init(probeSigstruct(pages, {}, c.key), 1));
    },
  },
  {
    leaf: 'EEXTEND',
    id: 'unmeasured-contents',
    title: 'Contents of a page that is added without EEXTEND are not in MRENCLAVE, its SECINFO is',
    run: (c) => {
      const extra = (value: number) => [
        { offset: AT.FREE, data: page().fill(value), flags: REG_RW, measured: false },
      ];
      const e = created(c);
      for (const run of probePages({ extra: extra(1) })) e.add(run);
      e.init(probeSigstruct(probePages({ extra: extra(2) }), {}, c.key), 1);
    },
  },
  {
    leaf: 'EINIT',
    id: 'accepts',
    title: 'A signature over the measurement is accepted',
    run: (c) => initialise(c, () => undefined)(),
  },
  {
    leaf: 'EINIT',
    id: 'signature',
    title: 'A changed signature is refused',
    run: (c) =>
      refuses(
        'EPERM',
        initialise(c, (s) => (s[516] ^= 1)),
      ),
  },
  {
    leaf: 'EINIT',
    id: 'signed-fields',
    title: 'A changed signed field (ISVSVN) is refused',
    run: (c) =>
      refuses(
        'EPERM',
        initialise(c, (s) => (s[SIGSTRUCT.offsets.ISVSVN] ^= 1)),
      ),
  },
  {
    leaf: 'EINIT',
    id: 'exponent',
    title: 'An exponent other than 3 is refused',
    run: (c) =>
      refuses(
        'EPERM',
        initialise(c, (s) => s.fill(5, 512, 513)),
      ),
  },
  {
    leaf: 'EINIT',
    id: 'measurement',
    title: 'A signature over another MRENCLAVE is refused',
    run: (c) => {
      const e = created(c);
      for (const run of probePages({})) e.add(run);
      const other = probeSigstruct(
        probePages({ extra: [{ offset: AT.FREE, data: page(), flags: REG_RW, measured: true }] }),
        {},
        c.key,
      );
      refuses('EPERM', () => e.init(other, 1));
    },
  },
  {
    leaf: 'EINIT',
    id: 'attributes',
    title: 'ATTRIBUTES that differ from the signed ones under the mask are refused',
    run: (c) => {
      const e = created(c, { attributes: 2n });
      const pages = probePages({});
      for (const run of pages) e.add(run);
      refuses('EPERM', () => e.init(probeSigstruct(pages, {}, c.key), 1));
    },
  },
  {
    leaf: 'EINIT',
    id: 'miscselect',
    title: 'MISCSELECT that differs from the signed one under the mask is refused',
    run: (c) => {
      const e = created(c, { miscselect: 1 });
      const pages = probePages({});
      for (const run of pages) e.add(run);
      refuses('EPERM', () => e.init(probeSigstruct(pages, {}, c.key), 1));
    },
  },
  {
    leaf: 'EINIT',
    id: 'twice',
    title: 'A second EINIT is EINVAL',
    run: (c) => {
      const init = initialise(c, () => undefined);
      init();
      refuses('EINVAL', init);
    },
  },
];
