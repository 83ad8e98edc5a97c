// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calls of the monitor (AMD 58019 "Secure VM Service Module", GHCB standard 2.04). The machine's vCPUs are slots that
 * tasks take in turn; the VMGEXIT is an increment of the vCPU's ring word and of the doorbell.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitops.h>
#include <linux/delay.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include "nsgx.h"

#define PROTOCOL_SGX 0x4e53ull
#define EXIT_SNP_RUN_VMPL 0x80000018ull
#define GHCB_RAX 0x1f8
#define GHCB_RCX 0x308
#define GHCB_RDX 0x310
#define GHCB_R8 0x340
#define GHCB_R9 0x348
#define GHCB_SW_EXIT_CODE 0x390
#define GHCB_EXIT_INFO_1 0x398
#define GHCB_EXIT_INFO_2 0x3a0
#define GHCB_VALID_BITMAP 0x3f0
#define GHCB_VERSION 0xffa
#define GHCB_USAGE 0xffc
#define CAA_RING 64
#define CAA_ANSWER 128
#define CAA_ASLEEP 192
#define DOORBELL_WAKE 0
#define DOORBELL_ASLEEP 64

#define ANSWER_NS (30ull * NSEC_PER_SEC)
#define BUSY_TRIES 200

static DECLARE_WAIT_QUEUE_HEAD(free_slots);
static unsigned long *taken;
/* Nobody answers any more: set once, with the first call that waited in vain. */
static bool machine_gone;

static void *vcpu_page(unsigned int vcpu)
{
	const struct vm_info *info = &nsgx_window.info;

	return nsgx_window.base + (info->vcpu_gpa - info->window_gpa) + vcpu * info->vcpu_stride;
}

static void put(void *ghcb, unsigned int at, u64 value)
{
	WRITE_ONCE(*(u64 *)(ghcb + at), value);
	((u8 *)ghcb)[GHCB_VALID_BITMAP + at / 64] |= 1u << (at / 8 % 8);
}

static u64 get(const void *ghcb, unsigned int at)
{
	return READ_ONCE(*(const u64 *)(ghcb + at));
}

static int try_take(void)
{
	for (unsigned int i = 0; i < nsgx_window.info.vcpus; i++)
		if (!test_and_set_bit(i, taken))
			return i;
	return -1;
}

static unsigned int take(void)
{
	int vcpu = try_take();

	if (vcpu < 0)
		wait_event(free_slots, (vcpu = try_take()) >= 0);
	return vcpu;
}

static void give(unsigned int vcpu)
{
	clear_bit_unlock(vcpu, taken);
	smp_mb__after_atomic();
	if (waitqueue_active(&free_slots))
		wake_up(&free_slots);
}

static int call_once(u32 call, const u64 *in, struct nsgx_result *out)
{
	void *doorbell = nsgx_window.base + (nsgx_window.info.doorbell_gpa - nsgx_window.info.window_gpa);
	unsigned int vcpu = take();
	void *ghcb = vcpu_page(vcpu), *caa = ghcb + NSGX_PAGE;
	struct nsgx_answer answer = { .word = caa + CAA_ANSWER, .asleep = caa + CAA_ASLEEP };
	int error;

	memset(ghcb + GHCB_VALID_BITMAP, 0, 16);
	put(ghcb, GHCB_RAX, PROTOCOL_SGX << 32 | call);
	put(ghcb, GHCB_RCX, in[0]);
	put(ghcb, GHCB_RDX, in[1]);
	put(ghcb, GHCB_R8, in[2]);
	put(ghcb, GHCB_R9, in[3]);
	put(ghcb, GHCB_SW_EXIT_CODE, EXIT_SNP_RUN_VMPL);
	put(ghcb, GHCB_EXIT_INFO_1, 0);
	put(ghcb, GHCB_EXIT_INFO_2, 0);
	WRITE_ONCE(*(u16 *)(ghcb + GHCB_VERSION), 2);
	WRITE_ONCE(*(u32 *)(ghcb + GHCB_USAGE), 0);
	WRITE_ONCE(*(u8 *)caa, 1);
	answer.wanted = READ_ONCE(*(u32 *)(caa + CAA_RING)) + 1;
	xchg((u32 *)(caa + CAA_RING), answer.wanted);
	atomic_inc((atomic_t *)(doorbell + DOORBELL_WAKE));
	smp_mb__after_atomic();
	if (READ_ONCE(*(u32 *)(doorbell + DOORBELL_ASLEEP)))
		nsgx_kick_page(doorbell);
	error = nsgx_await(&answer, 0, ANSWER_NS);
	if (error) {
		/* A late answer may still write the pages: the slot stays taken. */
		pr_err("the monitor did not answer call 0x%x\n", call);
		WRITE_ONCE(machine_gone, true);
		return -EIO;
	}
	/* Still pending: the call was not served. */
	if (READ_ONCE(*(u8 *)caa))
		*out = (struct nsgx_result){ .rax = SVSM_INVALID_REQUEST };
	else
		*out = (struct nsgx_result){ get(ghcb, GHCB_RAX), get(ghcb, GHCB_RCX), get(ghcb, GHCB_RDX), get(ghcb, GHCB_R8) };
	give(vcpu);
	return 0;
}

int nsgx_svsm4(u32 call, u64 rcx, u64 rdx, u64 r8, u64 r9, struct nsgx_result *out)
{
	const u64 in[] = { rcx, rdx, r8, r9 };

	memset(out, 0, sizeof(*out));
	for (unsigned int attempt = 0;; attempt++) {
		int error;

		if (READ_ONCE(machine_gone))
			return -EIO;
		error = call_once(call, in, out);
		if (error || out->rax != SVSM_BUSY || attempt == BUSY_TRIES)
			return error;
		if (attempt >= 3)
			usleep_range(1000 * min(attempt, 10u), 1000 * min(attempt, 10u) + 1000);
	}
}

int nsgx_svsm_open(void)
{
	struct nsgx_result r;
	int error;

	taken = bitmap_zalloc(nsgx_window.info.vcpus, GFP_KERNEL);
	if (!taken)
		return -ENOMEM;
	error = nsgx_svsm(NSGX_QUERY, 0, 0, 0, &r);
	if (!error && r.rax != SVSM_SUCCESS) {
		pr_err("the monitor does not serve enclaves: 0x%llx\n", r.rax);
		error = -ENODEV;
	}
	if (error)
		bitmap_free(taken);
	return error;
}

void nsgx_svsm_close(void)
{
	bitmap_free(taken);
}
