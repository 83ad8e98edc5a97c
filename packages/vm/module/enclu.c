// SPDX-License-Identifier: GPL-2.0-only
/*
 * ENCLU of user programs. A processor without SGX raises #UD; the die notifier takes those of processes that own an
 * enclave, and the work is done on the way back to user mode, where one may sleep. All else stays an invalid opcode.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/kdebug.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/sched/task_stack.h>
#include <linux/slab.h>
#include <linux/task_work.h>
#include <linux/uaccess.h>
#include <asm/trapnr.h>

#include "nsgx.h"

#define ENCLU_BYTES 3
#define EEXIT 4

/* Tasks between their ENCLU and the end of its work: the module must not go meanwhile. */
static atomic_t under_way = ATOMIC_INIT(0);

struct enclu {
	struct callback_head work;
	unsigned long ip;
};

/* The state that a processor leaves behind at an asynchronous exit; RSP and RBP are those of the entry. */
static void synthetic_state(struct pt_regs *regs, unsigned long aep)
{
	regs->ip = aep;
	regs->ax = GATE_FUNCTION_ERESUME;
	regs->cx = aep;
	regs->dx = regs->si = regs->di = 0;
	regs->r8 = regs->r9 = regs->r10 = regs->r11 = 0;
	regs->r12 = regs->r13 = regs->r14 = regs->r15 = 0;
}

/* 0: the enclave goes on. Else the process is to see the exception in *out. */
static int serve_fault(struct nsgx_enclave *e, u32 gate, struct nsgx_exit *out)
{
	if (out->vector != X86_TRAP_PF)
		return -EFAULT;
	if (nsgx_contains(e, out->address))
		return nsgx_driver_fault(e, gate, out->address, &out->error_code);
	return nsgx_outside_fault(&e->gate_states[gate], out->address, &out->error_code);
}

static void lost(struct pt_regs *regs, unsigned long tcs)
{
	/* As after the loss of EPC: the next entry finds no TCS. */
	nsgx_deliver(regs, X86_TRAP_PF, NSGX_PF_SGX | NSGX_PF_USER | NSGX_PF_PRESENT, tcs);
}

static void run(struct nsgx_enclave *e, u32 gate, struct pt_regs *regs)
{
	const unsigned long tcs = regs->bx, aep = regs->cx;
	u32 function = (u32)regs->ax;
	struct nsgx_exit out;
	u32 refusals = 0;

	for (;;) {
		nsgx_gate_enter(e, gate, function, regs, &out);
		if (out.kind == EXIT_KIND_EEXIT) {
			regs->ax = EEXIT;
			regs->cx = aep;
			return;
		}
		if (out.kind == EXIT_KIND_ENTRY_FAILED) {
			if (nsgx_driver_entry_fault(e, gate, tcs, out.vector, refusals++) && !signal_pending(current))
				continue;
			if (!signal_pending(current) || function == (u32)regs->ax)
				nsgx_deliver(regs, out.vector, out.error_code, out.address);
			return;
		}
		if (out.kind == EXIT_KIND_LOST) {
			lost(regs, tcs);
			return;
		}
		if (out.vector != INTERRUPT_VECTOR) {
			int error = serve_fault(e, gate, &out);

			if (error && error != -EINTR) {
				synthetic_state(regs, aep);
				nsgx_deliver(regs, out.vector, out.error_code, out.address);
				return;
			}
		}
		function = GATE_FUNCTION_ERESUME;
		if (signal_pending(current)) {
			synthetic_state(regs, aep);
			return;
		}
		cond_resched();
	}
}

static void enter(struct pt_regs *regs)
{
	unsigned long tcs = regs->bx;
	struct nsgx_enclave *e;
	int gate;

	if (!IS_ALIGNED(tcs, NSGX_PAGE)) {
		nsgx_deliver(regs, X86_TRAP_GP, 0, 0);
		return;
	}
	e = nsgx_enclave_find(tcs);
	if (!e) {
		nsgx_deliver(regs, X86_TRAP_PF, NSGX_PF_USER | NSGX_PF_SGX, tcs);
		return;
	}
	if (!test_bit(NSGX_ENCLAVE_RUNNABLE, &e->state)) {
		nsgx_deliver(regs, X86_TRAP_GP, 0, 0);
		goto out;
	}
	if (test_bit(NSGX_ENCLAVE_LOST, &e->state)) {
		lost(regs, tcs);
		goto out;
	}
	gate = nsgx_driver_gate(e, tcs);
	/* A thread that is inside cannot be entered again. */
	if (gate < 0 || gate >= e->gate_count || cmpxchg(&e->gate_states[gate].busy, 0, 1)) {
		nsgx_deliver(regs, X86_TRAP_GP, 0, 0);
		goto out;
	}
	run(e, gate, regs);
	smp_store_release(&e->gate_states[gate].busy, 0);
out:
	nsgx_enclave_put(e);
}

static void enclu_work(struct callback_head *head)
{
	struct enclu *w = container_of(head, struct enclu, work);
	struct pt_regs *regs = task_pt_regs(current);

	/* A signal goes first: its handler returns to the ENCLU, which comes here again. */
	if (regs->ip == w->ip && current->mm && !(current->flags & PF_EXITING) && !signal_pending(current))
		enter(regs);
	kfree(w);
	atomic_dec(&under_way);
}

static bool is_entry(const struct pt_regs *regs)
{
	u8 code[ENCLU_BYTES];

	if ((u32)regs->ax != GATE_FUNCTION_EENTER && (u32)regs->ax != GATE_FUNCTION_ERESUME)
		return false;
	if (!user_64bit_mode((struct pt_regs *)regs))
		return false;
	if (copy_from_user_nofault(code, (const void __user *)regs->ip, sizeof(code)))
		return false;
	return code[0] == 0x0f && code[1] == 0x01 && code[2] == 0xd7;
}

static int invalid_opcode(struct notifier_block *block, unsigned long event, void *data)
{
	const struct die_args *args = data;
	struct enclu *w;

	if (event != DIE_TRAP || args->trapnr != X86_TRAP_UD || !user_mode(args->regs) || !current->mm)
		return NOTIFY_DONE;
	if (!nsgx_mm_known(current->mm) || !is_entry(args->regs))
		return NOTIFY_DONE;
	/* Without memory the instruction is simply executed again. */
	w = kmalloc(sizeof(*w), GFP_ATOMIC);
	if (!w)
		return NOTIFY_STOP;
	w->ip = args->regs->ip;
	init_task_work(&w->work, enclu_work);
	atomic_inc(&under_way);
	if (task_work_add(current, &w->work, TWA_RESUME)) {
		atomic_dec(&under_way);
		kfree(w);
	}
	return NOTIFY_STOP;
}

static struct notifier_block opcodes = { .notifier_call = invalid_opcode, .priority = 100 };

int nsgx_enclu_open(void)
{
	return register_die_notifier(&opcodes);
}

void nsgx_enclu_close(void)
{
	unregister_die_notifier(&opcodes);
	while (atomic_read(&under_way))
		msleep(1);
	/* The last one may still be on its way out of enclu_work. */
	synchronize_rcu_tasks();
}
