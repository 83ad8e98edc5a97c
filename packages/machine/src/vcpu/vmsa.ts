/** The save area of a vCPU at one VMPL (AMD APM vol. 2, appendix B), and what makes one usable. */
import { EFER_SVME, SEV_FEATURES_SNP_ACTIVE, VMSA, type VmsaFields } from '@nestedsgx/arch';
import { MachineError } from '../errors.js';

/** A checked copy of a VMSA page. */
export class Vmsa {
  readonly fields: VmsaFields;

  private constructor(fields: VmsaFields) {
    this.fields = fields;
  }

  /** Copies a page and decodes it. Throws CODEC_SHORT_INPUT. */
  static copyFrom(page: Uint8Array): Vmsa {
    return new Vmsa(VMSA.decode(page));
  }

  /** A 4096-byte VMSA page that can run at `vmpl`; `extra` replaces fields. */
  static build(vmpl: number, extra: Partial<VmsaFields> = {}): Uint8Array {
    return VMSA.encode({
      VMPL: vmpl,
      EFER: EFER_SVME,
      CR0: 0x10n,
      CR4: 0x40n,
      DR6: 0xffff_0ff0n,
      DR7: 0x400n,
      RFLAGS: 2n,
      RIP: 0xfff0n,
      G_PAT: 0x0007_0406_0007_0406n,
      SEV_FEATURES: SEV_FEATURES_SNP_ACTIVE,
      XCR0: 1n,
      MXCSR: 0x1f80,
      X87_FCW: 0x37f,
      ...extra,
    });
  }

  get vmpl(): number {
    return this.fields.VMPL;
  }

  get sevFeatures(): bigint {
    return this.fields.SEV_FEATURES;
  }

  /**
   * Checks of SVSM CREATE_VCPU: the VMPL is the guest's, EFER.SVME is set, SEV_FEATURES are the caller's (and
   * say SNP). Throws VMSA_INVALID.
   */
  check(guestVmpl: number, sevFeatures: bigint): void {
    if (this.vmpl !== guestVmpl) throw invalid(`VMPL is ${this.vmpl}, not ${guestVmpl}`);
    if ((this.fields.EFER & EFER_SVME) === 0n) throw invalid('EFER.SVME is clear');
    if (this.sevFeatures !== sevFeatures) throw invalid('SEV_FEATURES differ from those of the caller');
    if ((this.sevFeatures & SEV_FEATURES_SNP_ACTIVE) === 0n) throw invalid('SEV_FEATURES.SNPActive is clear');
  }
}

function invalid(why: string): MachineError {
  return new MachineError('VMSA_INVALID', `the VMSA cannot run: ${why}`);
}
