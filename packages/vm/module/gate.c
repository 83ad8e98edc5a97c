// SPDX-License-Identifier: GPL-2.0-only
/* The gate of a thread: a page through which registers go to the runner that executes the enclave, and come back. */
#include <linux/delay.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/sched/clock.h>
#include <linux/sched/signal.h>
#include <asm/processor-flags.h>

#include "nsgx.h"

/* Longest wait for a kicked thread: the monitor gives an enclave up after 100 ms. */
#define LEAVE_NS (250ull * NSEC_PER_MSEC)
/* A thread whose entry was published and not begun is not inside yet: a kick does nothing, and is sent again. */
#define AGAIN_NS (2ull * NSEC_PER_MSEC)
#define WHILE_RUNNING_NS (NSEC_PER_SEC)
/* What an enclave may leave in the flags of its caller. */
#define EXIT_FLAGS (X86_EFLAGS_CF | X86_EFLAGS_PF | X86_EFLAGS_AF | X86_EFLAGS_ZF | X86_EFLAGS_SF | X86_EFLAGS_OF | X86_EFLAGS_DF)

static u64 page_table_root(void)
{
	return virt_to_phys(current->mm->pgd) | (pgtable_l5_enabled() ? VM_ROOT_LA57 : 0);
}

static void publish(struct nsgx_enclave *e, u32 index, u32 function, const struct pt_regs *regs)
{
	struct gate *g = &e->gates[index];

	WRITE_ONCE(g->request_function, function | (regs->flags & X86_EFLAGS_TF ? GATE_FUNCTION_TF : 0));
	WRITE_ONCE(g->request_rdi, regs->di);
	WRITE_ONCE(g->request_rsi, regs->si);
	WRITE_ONCE(g->request_rdx, regs->dx);
	WRITE_ONCE(g->request_r8, regs->r8);
	WRITE_ONCE(g->request_r9, regs->r9);
	WRITE_ONCE(g->request_rsp, regs->sp);
	WRITE_ONCE(g->request_rbp, regs->bp);
	WRITE_ONCE(g->request_rcx, regs->ip + 3);
	WRITE_ONCE(g->request_r10, regs->r10);
	WRITE_ONCE(g->request_r11, regs->r11);
	WRITE_ONCE(g->request_r12, regs->r12);
	WRITE_ONCE(g->request_r13, regs->r13);
	WRITE_ONCE(g->request_r14, regs->r14);
	WRITE_ONCE(g->request_r15, regs->r15);
	WRITE_ONCE(g->request_root, page_table_root());
	xchg(&g->request_seq, ++e->gate_states[index].seq);
	if (READ_ONCE(g->runner_asleep))
		nsgx_kick_page(g);
}

static void kick(struct nsgx_enclave *e, u32 index)
{
	struct nsgx_result ignored;

	nsgx_svsm(NSGX_KICK, e->secs, index, 0, &ignored);
}

static struct nsgx_answer answer_of(struct nsgx_enclave *e, u32 index)
{
	struct gate *g = &e->gates[index];

	return (struct nsgx_answer){
		.word = &g->response_seq,
		.wanted = e->gate_states[index].seq,
		.asleep = &g->host_asleep,
		.progress = &g->progress_state,
	};
}

/* A signal waits for this task: the thread has to leave, as at an interrupt. */
static int make_leave(struct nsgx_enclave *e, u32 index, const struct nsgx_answer *answer)
{
	u64 start = local_clock();
	int result;

	do {
		kick(e, index);
		result = nsgx_await(answer, 0, AGAIN_NS);
	} while (result == -ETIMEDOUT && local_clock() - start < LEAVE_NS);
	if (result != -ETIMEDOUT)
		return result;
	nsgx_enclave_stop(e);
	return nsgx_await(answer, 0, LEAVE_NS) ? -EIO : 0;
}

static void take_exit(const struct gate *g, struct pt_regs *regs, struct nsgx_exit *out)
{
	u64 flags = READ_ONCE(g->response_rflags);

	if (out->kind != EXIT_KIND_EEXIT) {
		u64 cause = READ_ONCE(g->response_rdi);

		out->vector = (u32)cause;
		out->error_code = cause >> 32;
		out->address = READ_ONCE(g->response_rsi);
		return;
	}
	regs->ip = READ_ONCE(g->response_rbx);
	regs->bx = regs->ip;
	regs->di = READ_ONCE(g->response_rdi);
	regs->si = READ_ONCE(g->response_rsi);
	regs->dx = READ_ONCE(g->response_rdx);
	regs->r8 = READ_ONCE(g->response_r8);
	regs->r9 = READ_ONCE(g->response_r9);
	regs->sp = READ_ONCE(g->response_rsp);
	regs->bp = READ_ONCE(g->response_rbp);
	regs->r10 = READ_ONCE(g->response_r10);
	regs->r11 = READ_ONCE(g->response_r11);
	regs->r12 = READ_ONCE(g->response_r12);
	regs->r13 = READ_ONCE(g->response_r13);
	regs->r14 = READ_ONCE(g->response_r14);
	regs->r15 = READ_ONCE(g->response_r15);
	regs->flags = (regs->flags & ~(u64)EXIT_FLAGS) | (flags & EXIT_FLAGS);
}

void nsgx_gate_enter(struct nsgx_enclave *e, u32 index, u32 function, struct pt_regs *regs, struct nsgx_exit *out)
{
	const struct gate *g = &e->gates[index];
	struct nsgx_answer answer;
	int result;

	*out = (struct nsgx_exit){ .kind = EXIT_KIND_LOST };
	if (READ_ONCE(g->progress_state) == PROGRESS_LOST || test_bit(NSGX_ENCLAVE_LOST, &e->state))
		return;
	publish(e, index, function, regs);
	answer = answer_of(e, index);
	do
		result = nsgx_await(&answer, NSGX_WAIT_INTERRUPTIBLE, WHILE_RUNNING_NS);
	while (result == -ETIMEDOUT);
	if (result == -EINTR)
		result = make_leave(e, index, &answer);
	if (result)
		return;
	out->kind = READ_ONCE(g->response_kind);
	if (out->kind < EXIT_KIND_EEXIT || out->kind > EXIT_KIND_ENTRY_FAILED)
		out->kind = EXIT_KIND_LOST;
	else
		take_exit(g, regs, out);
}

bool nsgx_kick_out(struct nsgx_enclave *e)
{
	bool all = true;

	for (u32 i = 0; i < e->gate_count; i++) {
		const struct gate *g = &e->gates[i];
		u32 seen = READ_ONCE(g->response_seq);
		u64 start = local_clock(), kicked = 0;

		/* Others may enter meanwhile: what counts is that whoever was inside has come out once. */
		while (nsgx_gate_inside(e, i) && READ_ONCE(g->response_seq) == seen) {
			u64 gone = local_clock() - start;

			if (READ_ONCE(g->progress_state) == PROGRESS_LOST)
				break;
			if (gone > LEAVE_NS) {
				all = false;
				break;
			}
			if (!kicked || gone - kicked > AGAIN_NS) {
				kick(e, i);
				kicked = max(gone, 1ull);
			} else {
				usleep_range(20, 50);
			}
		}
	}
	return all;
}

void nsgx_enclave_stop(struct nsgx_enclave *e)
{
	struct nsgx_result ignored;

	set_bit(NSGX_ENCLAVE_LOST, &e->state);
	if (e->secs)
		nsgx_svsm(NSGX_STOP, e->secs, 0, 0, &ignored);
}
