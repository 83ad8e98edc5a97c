/** The SNP launch digest. Source: AMD 56860, "SNP_LAUNCH_UPDATE", "Launch Digest". */
import { NsgxError } from '../errors.js';
import type { HashProvider } from '../hash/provider.js';
import { PAGE_INFO, SNP_PAGE_TYPE } from './page-info.js';

/** Permissions that SNP_LAUNCH_UPDATE gives lower VMPLs to a page (VMPL_PERMISSION bits). */
export interface LaunchVmplPermissions {
  readonly vmpl1?: number;
  readonly vmpl2?: number;
  readonly vmpl3?: number;
  /** The page belongs to the initial migration image. */
  readonly imi?: boolean;
}

const ZERO48 = new Uint8Array(48);

/** The chain SHA-384(PAGE_INFO) over every launch update, starting from 48 zero bytes. */
export class LaunchDigest {
  readonly #hash: HashProvider;
  #digest: Uint8Array;

  /** `start` (48 bytes) resumes from the digest after some first pages, a firmware's for example. */
  constructor(hash: HashProvider, start: Uint8Array = ZERO48) {
    if (start.length !== 48)
      throw new NsgxError('SNP_LAUNCH_PAGE', `a launch digest has 48 bytes, not ${start.length}`);
    this.#hash = hash;
    this.#digest = start.slice();
  }

  /**
   * One SNP_LAUNCH_UPDATE page. `contents` are its 4096 bytes for NORMAL and VMSA pages, null for the other
   * types, whose contents are not measured.
   *
   * Throws SNP_LAUNCH_PAGE for an unknown type, a gPA that is not page aligned, or contents of a wrong length.
   */
  update(
    pageType: number,
    gpa: bigint,
    contents: Uint8Array | null,
    vmplPerms: LaunchVmplPermissions = {},
  ): this {
    if (!measuresContents(pageType)) return this.updateHashed(pageType, gpa, null, vmplPerms);
    if (contents === null || contents.length !== 4096) {
      throw new NsgxError(
        'SNP_LAUNCH_PAGE',
        `a measured page has 4096 bytes, not ${contents === null ? 'none' : contents.length}`,
      );
    }
    return this.updateHashed(pageType, gpa, this.#hash.sha384().update(contents).digest(), vmplPerms);
  }

  /** As `update`, with the SHA-384 of the contents (48 bytes) in place of the contents. Throws SNP_LAUNCH_PAGE. */
  updateHashed(
    pageType: number,
    gpa: bigint,
    contentsSha384: Uint8Array | null,
    vmplPerms: LaunchVmplPermissions = {},
  ): this {
    if (!Number.isInteger(pageType) || pageType < SNP_PAGE_TYPE.NORMAL || pageType > SNP_PAGE_TYPE.CPUID) {
      throw new NsgxError('SNP_LAUNCH_PAGE', `page type ${pageType} is not one of 1…6`);
    }
    if ((gpa & 0xfffn) !== 0n) {
      throw new NsgxError('SNP_LAUNCH_PAGE', `gPA 0x${gpa.toString(16)} is not page aligned`);
    }
    const measured = measuresContents(pageType);
    if (measured && (contentsSha384 === null || contentsSha384.length !== 48)) {
      throw new NsgxError('SNP_LAUNCH_PAGE', 'a measured page needs the 48-byte SHA-384 of its contents');
    }
    const info = PAGE_INFO.encode({
      DIGEST_CUR: this.#digest,
      CONTENTS: measured && contentsSha384 !== null ? contentsSha384 : ZERO48,
      LENGTH: PAGE_INFO.size,
      PAGE_TYPE: pageType,
      IMI_PAGE: vmplPerms.imi === true ? 1 : 0,
      VMPL3_PERMS: vmplPerms.vmpl3 ?? 0,
      VMPL2_PERMS: vmplPerms.vmpl2 ?? 0,
      VMPL1_PERMS: vmplPerms.vmpl1 ?? 0,
      GPA: gpa,
    });
    this.#digest = this.#hash.sha384().update(info).digest();
    return this;
  }

  /** The launch digest so far (48 bytes, a copy). */
  get digest(): Uint8Array {
    return this.#digest.slice();
  }
}

function measuresContents(pageType: number): boolean {
  return pageType === SNP_PAGE_TYPE.NORMAL || pageType === SNP_PAGE_TYPE.VMSA;
}
