// SPDX-License-Identifier: GPL-2.0-only
/* What the core knows of an enclave: its address space, its gates, and who still needs it. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/slab.h>

#include "notifier.h"

void nsgx_enclave_init(struct nsgx_enclave *e)
{
	kref_init(&e->ref);
	INIT_LIST_HEAD(&e->link);
	mutex_init(&e->revoke_lock);
}

/* True when one area without access and without a file covers the range. */
static bool is_reserved(u64 start, u64 end)
{
	const struct vm_area_struct *area;
	bool covered;

	mmap_read_lock(current->mm);
	area = find_vma(current->mm, start);
	covered = area && area->vm_start <= start && area->vm_end >= end && !area->vm_file &&
		  !(area->vm_flags & (VM_READ | VM_WRITE | VM_EXEC));
	mmap_read_unlock(current->mm);
	return covered;
}

/* Address space without memory that nobody else gets. */
static int reserve(u64 start, u64 end)
{
	unsigned long at;

	if (start >= end || end > TASK_SIZE)
		return -EINVAL;
	at = vm_mmap(NULL, start, end - start, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, 0);
	if (IS_ERR_VALUE(at))
		return (int)at == -EEXIST ? -EBUSY : (int)at;
	return 0;
}

static int reserve_runner_ranges(struct nsgx_mm *owner)
{
	const struct vm_info *info = &nsgx_window.info;
	int error = 0;

	mutex_lock(&owner->reserve_lock);
	for (u32 i = 0; i < info->reserved && !error && !owner->reserved; i++) {
		const u64 start = info->reserved_ranges[2 * i], end = info->reserved_ranges[2 * i + 1];

		error = reserve(start, end);
		/* A child has it of its parent, and who tries again of the first time. */
		if (error == -EBUSY && is_reserved(start, end))
			error = 0;
		if (error)
			pr_warn_ratelimited("%s has something between 0x%llx and 0x%llx, where runners of enclaves are: %d\n",
					    current->comm, start, end, error);
	}
	if (!error)
		owner->reserved = true;
	mutex_unlock(&owner->reserve_lock);
	return error;
}

int nsgx_enclave_attach(struct nsgx_enclave *e)
{
	struct nsgx_mm *owner;
	int error;

	owner = nsgx_owner_get();
	if (IS_ERR(owner))
		return PTR_ERR(owner);
	error = reserve_runner_ranges(owner);
	if (!error)
		error = nsgx_owner_link(owner, e);
	if (error)
		nsgx_owner_put(owner);
	return error;
}

u64 nsgx_reserve_beside(struct nsgx_enclave *e)
{
	const u64 bytes = nsgx_window.info.trampoline_bytes;
	const u64 above = e->base + e->size + NSGX_PAGE;

	if (bytes && bytes < e->base && !reserve(e->base - bytes, e->base)) {
		e->beside = e->base - bytes;
		return BESIDE_CHOSEN | BESIDE_BELOW;
	}
	if (bytes && !reserve(above, above + bytes)) {
		e->beside = above;
		return BESIDE_CHOSEN | BESIDE_ABOVE;
	}
	return BESIDE_CHOSEN;
}

int nsgx_gates_bind(struct nsgx_enclave *e, u32 count, u64 beside)
{
	struct nsgx_gate_state *states;
	struct nsgx_result r;
	struct gate *gates;
	int error;

	if (!count || count > MAX_THREADS || e->gates || !e->owner)
		return -EINVAL;
	states = kvcalloc(count, sizeof(*states), GFP_KERNEL);
	gates = nsgx_alloc(count + 1);
	error = states && gates ? 0 : -ENOMEM;
	if (!error) {
		memset(gates, 0, (count + 1) * NSGX_PAGE);
		for (u32 i = 0; i < count; i++) {
			gates[i].host_cpu = NO_CPU;
			gates[i].host_patience = nsgx_spin_cycles();
		}
		error = nsgx_svsm4(NSGX_BIND_GATES, e->secs, nsgx_gpa(gates), count, beside, &r);
	}
	if (!error && r.rax != SVSM_SUCCESS)
		error = -EIO;
	if (error) {
		kvfree(states);
		nsgx_free(gates, gates ? count + 1 : 0);
		return error;
	}
	e->gate_states = states;
	e->gates = gates;
	e->gate_count = count;
	nsgx_owner_set_revoke(e, (struct revoke *)&gates[count]);
	return 0;
}

/* Gives the room of trampolines back, unless the process has put something else there. */
static void free_beside(struct nsgx_enclave *e)
{
	const u64 end = e->beside + nsgx_window.info.trampoline_bytes;

	if (e->beside && nsgx_enclave_mm(e) && nsgx_enclave_mm(e) == current->mm && is_reserved(e->beside, end))
		vm_munmap(e->beside, end - e->beside);
	e->beside = 0;
}

static bool anybody_inside(const struct nsgx_enclave *e)
{
	for (u32 i = 0; i < e->gate_count; i++)
		if (nsgx_gate_inside(e, i) && READ_ONCE(e->gates[i].progress_state) != PROGRESS_LOST)
			return true;
	return false;
}

void nsgx_enclave_detach(struct nsgx_enclave *e)
{
	struct nsgx_mm *owner = e->owner;

	set_bit(NSGX_ENCLAVE_LOST, &e->state);
	if (!owner)
		return;
	/* Whoever is inside leaves and, as the enclave is lost, does not come back. */
	if (anybody_inside(e) && !nsgx_kick_out(e))
		nsgx_enclave_stop(e);
	free_beside(e);
	nsgx_owner_unlink(e);
	e->owner = NULL;
	nsgx_owner_put(owner);
}

static void release(struct kref *ref)
{
	struct nsgx_enclave *e = container_of(ref, struct nsgx_enclave, ref);

	nsgx_enclave_detach(e);
	if (!test_bit(NSGX_ENCLAVE_STAYS, &e->state))
		nsgx_free(e->gates, e->gates ? e->gate_count + 1 : 0);
	kvfree(e->gate_states);
	nsgx_driver_free(e);
}

void nsgx_enclave_put(struct nsgx_enclave *e)
{
	kref_put(&e->ref, release);
}
