// SPDX-License-Identifier: GPL-2.0-only
/*
 * Address spaces that own enclaves. Runners map their memory by walking the page tables; before the kernel changes an
 * entry they give the mapping back, and map nothing of it until the change is done (mm/mmu_notifier.c).
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/hashtable.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/rculist.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/srcu.h>

#include "notifier.h"

/* A runner that does not answer for so long is taken for dead; its enclave with it. */
#define ACK_NS (5ull * NSEC_PER_SEC)
/* Where one may not sleep the kernel tears down a process that is out of memory: what it does next is soon forgotten. */
#define ACK_ATOMIC_NS (20ull * NSEC_PER_MSEC)

static DEFINE_HASHTABLE(owners, 6);
static DEFINE_SPINLOCK(owners_lock);
/* Readers walk a list of enclaves and may sleep for one of them. */
DEFINE_STATIC_SRCU(walks);

bool nsgx_mm_known(const struct mm_struct *mm)
{
	struct nsgx_mm *owner;
	bool known = false;

	rcu_read_lock();
	hash_for_each_possible_rcu(owners, owner, hash, (unsigned long)mm)
		known |= owner->mm == mm;
	rcu_read_unlock();
	return known;
}

static struct nsgx_enclave *find_in(struct nsgx_mm *owner, unsigned long address)
{
	struct nsgx_enclave *e, *found = NULL;

	spin_lock(&owner->lock);
	list_for_each_entry(e, &owner->enclaves, link)
		if (nsgx_contains(e, address) && kref_get_unless_zero(&e->ref)) {
			found = e;
			break;
		}
	spin_unlock(&owner->lock);
	return found;
}

struct nsgx_enclave *nsgx_enclave_find(unsigned long address)
{
	struct nsgx_enclave *found = NULL;
	struct nsgx_mm *owner;

	rcu_read_lock();
	/* One that ends and one that begins may stand side by side. */
	hash_for_each_possible_rcu(owners, owner, hash, (unsigned long)current->mm)
		if (owner->mm == current->mm && (found = find_in(owner, address)))
			break;
	rcu_read_unlock();
	return found;
}

static void revoke(struct nsgx_enclave *e, const struct mmu_notifier_range *range)
{
	struct revoke *r = e->revoke;
	const bool atomic = !mmu_notifier_range_blockable(range);
	struct nsgx_answer answer;
	int error;

	if (atomic ? !mutex_trylock(&e->revoke_lock) : (mutex_lock(&e->revoke_lock), false))
		return;
	WRITE_ONCE(r->start, range->start);
	WRITE_ONCE(r->end, range->end);
	answer = (struct nsgx_answer){
		.word = &r->ack_seq,
		.wanted = READ_ONCE(r->seq) + 1,
		.asleep = &r->guest_asleep,
		.progress = &e->gates[0].progress_state,
	};
	xchg(&r->seq, answer.wanted);
	if (READ_ONCE(r->asleep))
		nsgx_kick_page(r);
	error = nsgx_await(&answer, atomic ? NSGX_WAIT_ATOMIC : 0, atomic ? ACK_ATOMIC_NS : ACK_NS);
	if (error == -ETIMEDOUT && !atomic) {
		pr_warn("a runner does not give memory back: its enclave is given up\n");
		set_bit(NSGX_ENCLAVE_LOST, &e->state);
	}
	mutex_unlock(&e->revoke_lock);
}

/* The ELRANGE is the enclave's own memory; before its gates are bound it has no runner. */
static bool concerned(const struct nsgx_enclave *e, const struct mmu_notifier_range *range)
{
	return e->revoke && !(range->start >= e->base && range->end <= e->base + e->size);
}

static int invalidate_start(struct mmu_notifier *notifier, const struct mmu_notifier_range *range)
{
	struct nsgx_mm *owner = container_of(notifier, struct nsgx_mm, notifier);
	struct nsgx_enclave *e;
	int index;

	spin_lock(&owner->lock);
	owner->invalidating++;
	list_for_each_entry(e, &owner->enclaves, link)
		if (e->revoke) {
			atomic_inc((atomic_t *)&e->revoke->invalidating);
			atomic_inc((atomic_t *)&e->revoke->generation);
		}
	spin_unlock(&owner->lock);
	smp_mb();
	index = srcu_read_lock(&walks);
	list_for_each_entry_srcu(e, &owner->enclaves, link, srcu_read_lock_held(&walks))
		if (concerned(e, range) && READ_ONCE(e->revoke->mapped) && !test_bit(NSGX_ENCLAVE_LOST, &e->state))
			revoke(e, range);
	srcu_read_unlock(&walks, index);
	return 0;
}

static void invalidate_end(struct mmu_notifier *notifier, const struct mmu_notifier_range *range)
{
	struct nsgx_mm *owner = container_of(notifier, struct nsgx_mm, notifier);
	struct nsgx_enclave *e;

	spin_lock(&owner->lock);
	owner->invalidating--;
	list_for_each_entry(e, &owner->enclaves, link)
		if (e->revoke)
			atomic_dec((atomic_t *)&e->revoke->invalidating);
	spin_unlock(&owner->lock);
}

/* exit or exec: no task of the address space is left, so nobody is inside. */
static void address_space_ends(struct mmu_notifier *notifier, struct mm_struct *mm)
{
	struct nsgx_mm *owner = container_of(notifier, struct nsgx_mm, notifier);

	spin_lock(&owner->lock);
	owner->ended = true;
	while (!list_empty(&owner->enclaves)) {
		struct nsgx_enclave *e = list_first_entry(&owner->enclaves, struct nsgx_enclave, link);

		set_bit(NSGX_ENCLAVE_LOST, &e->state);
		list_del_rcu(&e->link);
		WRITE_ONCE(e->linked, false);
		/* Without a reference somebody is freeing it already, and waits for the lock to unlink it. */
		if (!kref_get_unless_zero(&e->ref))
			continue;
		spin_unlock(&owner->lock);
		nsgx_driver_mm_gone(e);
		nsgx_enclave_put(e);
		spin_lock(&owner->lock);
	}
	spin_unlock(&owner->lock);
}

static struct mmu_notifier *alloc_owner(struct mm_struct *mm)
{
	struct nsgx_mm *owner = kzalloc(sizeof(*owner), GFP_KERNEL);

	if (!owner)
		return ERR_PTR(-ENOMEM);
	owner->mm = mm;
	spin_lock_init(&owner->lock);
	mutex_init(&owner->reserve_lock);
	INIT_LIST_HEAD(&owner->enclaves);
	spin_lock(&owners_lock);
	hash_add_rcu(owners, &owner->hash, (unsigned long)mm);
	spin_unlock(&owners_lock);
	return &owner->notifier;
}

static void free_owner(struct mmu_notifier *notifier)
{
	struct nsgx_mm *owner = container_of(notifier, struct nsgx_mm, notifier);

	spin_lock(&owners_lock);
	hash_del_rcu(&owner->hash);
	spin_unlock(&owners_lock);
	kfree_rcu(owner, rcu);
}

static const struct mmu_notifier_ops operations = {
	.invalidate_range_start = invalidate_start,
	.invalidate_range_end = invalidate_end,
	.release = address_space_ends,
	.alloc_notifier = alloc_owner,
	.free_notifier = free_owner,
};

struct nsgx_mm *nsgx_owner_get(void)
{
	struct mmu_notifier *notifier = mmu_notifier_get(&operations, current->mm);

	return IS_ERR(notifier) ? ERR_CAST(notifier) : container_of(notifier, struct nsgx_mm, notifier);
}

void nsgx_owner_put(struct nsgx_mm *owner)
{
	mmu_notifier_put(&owner->notifier);
}

int nsgx_owner_link(struct nsgx_mm *owner, struct nsgx_enclave *e)
{
	int error = 0;

	spin_lock(&owner->lock);
	if (owner->ended) {
		error = -ESRCH;
	} else {
		e->owner = owner;
		e->linked = true;
		list_add_tail_rcu(&e->link, &owner->enclaves);
	}
	spin_unlock(&owner->lock);
	return error;
}

void nsgx_owner_unlink(struct nsgx_enclave *e)
{
	struct nsgx_mm *owner = e->owner;

	spin_lock(&owner->lock);
	if (e->linked) {
		e->linked = false;
		list_del_rcu(&e->link);
	}
	spin_unlock(&owner->lock);
	synchronize_srcu_expedited(&walks);
}

void nsgx_owner_set_revoke(struct nsgx_enclave *e, struct revoke *page)
{
	spin_lock(&e->owner->lock);
	WRITE_ONCE(page->invalidating, e->owner->invalidating);
	smp_store_release(&e->revoke, page);
	spin_unlock(&e->owner->lock);
}

struct mm_struct *nsgx_enclave_mm(const struct nsgx_enclave *e)
{
	return e->owner && READ_ONCE(e->linked) ? e->owner->mm : NULL;
}

void nsgx_notifier_drain(void)
{
	mmu_notifier_synchronize();
}
