// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exceptions of enclaves: those whose AEP is in the vDSO go to its fixup, which reports them in the run structure; others
 * are the signals that arch/x86/kernel/traps.c and arch/x86/mm/fault.c send.
 */
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/signal.h>
#include <asm/trapnr.h>
#include <asm/vdso.h>

#include "nsgx.h"

/* Both relative to the place of the first entry. */
struct vdso_row {
	int instruction, fixup;
};

static bool vdso_fixup(struct pt_regs *regs, u32 vector, u32 error_code, unsigned long address)
{
	const struct vdso_image *image = current->mm->context.vdso_image;
	const struct vdso_row *rows;
	unsigned long base;

	if (!image || !image->extable || !current->mm->context.vdso)
		return false;
	base = (unsigned long)current->mm->context.vdso + image->extable_base;
	rows = image->extable;
	for (unsigned long i = 0; i < image->extable_len / sizeof(*rows); i++) {
		if (regs->ip != base + rows[i].instruction)
			continue;
		regs->ip = base + rows[i].fixup;
		regs->di = vector;
		regs->si = error_code;
		regs->dx = address;
		return true;
	}
	return false;
}

static void fill(struct kernel_siginfo *info, u32 vector, u32 error_code, unsigned long address, unsigned long ip)
{
	int signal = SIGSEGV, code = SI_KERNEL;
	unsigned long at = 0;

	switch (vector) {
	case X86_TRAP_DE:
		signal = SIGFPE;
		code = FPE_INTDIV;
		at = ip;
		break;
	case X86_TRAP_MF:
	case X86_TRAP_XF:
		signal = SIGFPE;
		code = FPE_FLTUNK;
		at = ip;
		break;
	case X86_TRAP_DB:
		signal = SIGTRAP;
		code = TRAP_TRACE;
		at = ip;
		break;
	case X86_TRAP_BP:
		signal = SIGTRAP;
		break;
	case X86_TRAP_UD:
		signal = SIGILL;
		code = ILL_ILLOPN;
		at = ip;
		break;
	case X86_TRAP_AC:
		signal = SIGBUS;
		code = BUS_ADRALN;
		break;
	case X86_TRAP_PF:
		code = error_code & NSGX_PF_PRESENT ? SEGV_ACCERR : SEGV_MAPERR;
		at = address;
		break;
	}
	clear_siginfo(info);
	info->si_signo = signal;
	info->si_code = code;
	info->si_addr = (void __user *)at;
}

void nsgx_deliver(struct pt_regs *regs, u32 vector, u32 error_code, unsigned long address)
{
	struct kernel_siginfo info;
	struct k_sigaction *action;
	bool blocked;

	if (vdso_fixup(regs, vector, error_code, address))
		return;
	fill(&info, vector, error_code, address, regs->ip);
	current->thread.trap_nr = vector;
	current->thread.error_code = error_code;
	if (vector == X86_TRAP_PF)
		current->thread.cr2 = address;
	/* An exception cannot wait: a process that blocks or ignores it ends, as by force_sig_fault, which modules lack. */
	action = &current->sighand->action[info.si_signo - 1];
	blocked = sigismember(&current->blocked, info.si_signo) || READ_ONCE(action->sa.sa_handler) == SIG_IGN;
	if (blocked)
		force_sig(info.si_signo);
	else
		send_sig_info(info.si_signo, &info, current);
}
