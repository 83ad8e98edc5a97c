// SPDX-License-Identifier: GPL-2.0-only
/*
 * The CPUID instruction of programs. Programs that use SGX ask it first, and the guest's processor has none, so their CPUID
 * instructions are replaced in their own copies of their code (cpuid_sites.c) by an invalid opcode of the same length,
 * which is executed here: as the processor, with SGX added.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kdebug.h>
#include <linux/notifier.h>
#include <linux/uaccess.h>
#include <asm/fpu/xcr.h>
#include <asm/processor.h>
#include <asm/trapnr.h>

#include "cpuid.h"
#include "nsgx.h"

#define LEAF_FEATURES 7
#define LEAF_SGX 0x12
#define FEATURES_EBX_SGX (1u << 2)
#define FEATURES_ECX_SGX_LC (1u << 30)

/* Leaf 0x12, subleaf 0: EAX = SGX1, SGX2, EDECCSSA; EBX = MISCSELECT.EXINFO; EDX = log2 of the largest enclaves. */
#define SGX_LEAVES (1u << 0 | 1u << 1 | 1u << 11)
#define SGX_MISCSELECT (1u << 0)
#define SGX_SIZES (36u << 8 | 31u)
/* Subleaf 1: ATTRIBUTES DEBUG, MODE64BIT, PROVISIONKEY, EINITTOKEN_KEY, KSS, AEXNOTIFY; XFRM. */
#define SGX_ATTRIBUTES (0x2u | 0x4u | 0x10u | 0x20u | 0x80u | 0x400u)
/* x87, SSE, AVX: what every processor that runs enclaves has. */
#define SGX_XFRM 7u
#define SUBLEAF_EPC 2

struct registers {
	u32 ax, bx, cx, dx;
};

static void sgx_leaf(u32 subleaf, struct registers *r)
{
	u64 start = nsgx_window.info.epc_gpa, bytes = nsgx_window.info.epc_pages * NSGX_PAGE;

	*r = (struct registers){};
	if (subleaf == 0) {
		r->ax = SGX_LEAVES;
		r->bx = SGX_MISCSELECT;
		r->dx = SGX_SIZES;
	} else if (subleaf == 1) {
		r->ax = SGX_ATTRIBUTES;
		r->cx = boot_cpu_has(X86_FEATURE_OSXSAVE) ? (u32)xgetbv(XCR_XFEATURE_ENABLED_MASK) & SGX_XFRM : 3;
	} else if (subleaf == SUBLEAF_EPC) {
		/* One section; integrity as of its own memory file. */
		r->ax = 1 | (u32)(start & 0xfffff000);
		r->bx = (u32)(start >> 32);
		r->cx = 1 | (u32)(bytes & 0xfffff000);
		r->dx = (u32)(bytes >> 32);
	}
}

static void execute(struct pt_regs *regs)
{
	u32 leaf = (u32)regs->ax, subleaf = (u32)regs->cx;
	struct registers r;

	if (leaf == LEAF_SGX) {
		sgx_leaf(subleaf, &r);
	} else {
		cpuid_count(leaf, subleaf, &r.ax, &r.bx, &r.cx, &r.dx);
		if (leaf == 0 && r.ax < LEAF_SGX)
			r.ax = LEAF_SGX;
		if (leaf == LEAF_FEATURES && subleaf == 0) {
			r.bx |= FEATURES_EBX_SGX;
			r.cx |= FEATURES_ECX_SGX_LC;
		}
	}
	regs->ax = r.ax;
	regs->bx = r.bx;
	regs->cx = r.cx;
	regs->dx = r.dx;
	regs->ip += NSGX_CPUID_BYTES;
}

static int invalid_opcode(struct notifier_block *block, unsigned long event, void *data)
{
	static const u8 replaced[NSGX_CPUID_BYTES] = NSGX_CPUID_REPLACED;
	const struct die_args *args = data;
	u8 code[NSGX_CPUID_BYTES];

	if (event != DIE_TRAP || args->trapnr != X86_TRAP_UD || !user_mode(args->regs) || !current->mm)
		return NOTIFY_DONE;
	if (copy_from_user_nofault(code, (const void __user *)args->regs->ip, sizeof(code)))
		return NOTIFY_DONE;
	if (memcmp(code, replaced, sizeof(code)))
		return NOTIFY_DONE;
	execute(args->regs);
	return NOTIFY_STOP;
}

static struct notifier_block opcodes = { .notifier_call = invalid_opcode, .priority = 50 };

int nsgx_cpuid_open(void)
{
	int error = register_die_notifier(&opcodes);

	if (error)
		return error;
	error = nsgx_cpuid_sites_open();
	if (error)
		unregister_die_notifier(&opcodes);
	return error;
}

/* Programs that still run and have had their instructions replaced die at the next one: unloading is for the end. */
void nsgx_cpuid_close(void)
{
	nsgx_cpuid_sites_close();
	unregister_die_notifier(&opcodes);
}
