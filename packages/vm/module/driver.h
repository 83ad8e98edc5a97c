/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of the driver of /dev/sgx_enclave share. The interface is that of Linux's arch/x86/include/uapi/asm/sgx.h. */
#ifndef NSGX_DRIVER_H
#define NSGX_DRIVER_H

#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/xarray.h>
#include <uapi/asm/sgx.h>

#include "nsgx.h"

/* ENCLS leaves (SDM 3D, chapter 38). */
#define ENCLS_ECREATE 0x0
#define ENCLS_EINIT 0x2
#define ENCLS_EREMOVE 0x3
#define ENCLS_EDBGRD 0x4
#define ENCLS_EDBGWR 0x5
#define ENCLS_ETRACK 0xc
#define ENCLS_EAUG 0xd
#define ENCLS_EMODPR 0xe
#define ENCLS_EMODT 0xf

#define SGX_UNMASKED 128
#define SGX_CONFLICT 7 /* SGX_EPC_PAGE_CONFLICT */
#define SGX_ACTIVE 14 /* SGX_ENCLAVE_ACT */

#define SECINFO_R 1u
#define SECINFO_W 2u
#define SECINFO_X 4u
#define SECINFO_RWX 7u
#define PT_SECS 0u
#define PT_TCS 1u
#define PT_REG 2u
#define PT_TRIM 4u
#define ATTRIBUTE_DEBUG (1ull << 1)
#define ATTRIBUTE_PROVISIONKEY (1ull << 4)
/* What an enclave may have without being granted it: DEBUG, MODE64BIT, KSS, AEXNOTIFY. */
#define ATTRIBUTES_FREE (ATTRIBUTE_DEBUG | 1ull << 2 | 1ull << 7 | 1ull << 10)

/* Threads that an enclave may get at run time beside those it is built with. */
#define GATES_SPARE 16u

/* A page of an enclave, as the value of an xarray entry: EPC frame, its type, what it may ever be mapped with, its PTE. */
struct page_entry {
	u32 frame;    /* number of the EPC page */
	u8 type;
	u8 most;      /* SECINFO_RWX: most that a mapping may ask for */
	u8 pte;	      /* SECINFO_RWX: what the mappings of the process allow now */
	bool evicted; /* frame is the slot of the backing store */
};

/* Bit of nsgx_enclave.state: mappings have changed since the page table of the enclave was brought in line with them. */
#define NSGX_MAPPINGS_CHANGED 16

/* A TCS that was added before EINIT: its linear address, and its SSA. */
struct sgx_thread {
	unsigned long address;
	u64 ossa;
	u32 nssa;
};

/* One open file of /dev/sgx_enclave. `lock` is taken before mmap_lock, so callbacks of mappings look at pages without it. */
struct sgx_file {
	struct nsgx_enclave core; /* first */
	struct mutex lock;
	unsigned long in_ioctl;
	struct xarray pages; /* by page number in the ELRANGE */
	struct sgx_thread *threads; /* in the order of EADD */
	u32 tcs_count, tcs_room;
	u64 attributes, allowed;
	u32 ssa_pages;
	bool created, initialised, closed, provision;
	bool new_threads; /* has had a page made a TCS at run time */
	/* Reclaiming. */
	struct list_head files;
	struct list_head versions; /* VA pages */
	unsigned long hand;	   /* where the next page to be written back is looked for */
};

static inline struct sgx_file *sgx_file_of(struct nsgx_enclave *e)
{
	return container_of(e, struct sgx_file, core);
}

/* epc.c */
int epc_open(void);
void epc_close(void);
/* Up to `wanted` consecutive EPC pages; *first is the number of the first. 0: none is free. */
u32 epc_take(u32 wanted, u32 *first);
/* One page of those that are kept for version arrays. */
bool epc_take_reserved(u32 *frame);
void epc_give(u32 first, u32 count);
u64 epc_gpa(u32 frame);

/* reclaim.c: as epc_take, but writes pages back when none is free. With the lock of `self` held. */
u32 epc_get(struct sgx_file *self, u32 wanted, u32 *first);
void reclaim_add(struct sgx_file *f);
void reclaim_remove(struct sgx_file *f);
/* evict.c: brings an evicted page back. -EFAULT: its backing is not what was written, and the enclave was stopped. */
int load_page(struct sgx_file *f, unsigned long page);
/* backing.c */
void evicted_give(struct sgx_file *f, u32 slot);
void versions_free(struct sgx_file *f);

/* page_entry.c */
bool page_find(struct sgx_file *f, unsigned long page, struct page_entry *out);
int page_store(struct sgx_file *f, unsigned long page, struct page_entry entry);

/* leaf.c */
struct leaf_result {
	int vector; /* -1: no exception */
	u32 code;   /* SGX error code, or the exception's */
	u64 rdx;
};
/* A leaf or a call answered like one. -EIO when the monitor refused it as a call, or is gone. */
int encls(u32 leaf, u64 rbx, u64 rcx, u64 rdx, struct leaf_result *out);
static inline bool leaf_ok(const struct leaf_result *r)
{
	return r->vector < 0 && !r->code;
}
/* EREMOVE of consecutive frames; true when all are gone. */
bool remove_frames(struct sgx_file *f, u32 first, u32 count);

/* create.c, add_pages.c, init.c, modify.c, remove_pages.c: the ioctls; called with the file's lock held */
int ioctl_create(struct sgx_file *f, void __user *argument);
int ioctl_add_pages(struct sgx_file *f, void __user *argument);
int ioctl_init(struct sgx_file *f, void __user *argument);
int ioctl_provision(struct sgx_file *f, void __user *argument);
int ioctl_restrict_permissions(struct sgx_file *f, void __user *argument);
int ioctl_modify_types(struct sgx_file *f, void __user *argument);
int ioctl_remove_pages(struct sgx_file *f, void __user *argument);
int check_range(const struct sgx_file *f, u64 offset, u64 length);
void take_down(struct sgx_file *f);

/* page_fault.c */
/* EAUG of a page that is not there; with the file's lock held. */
int add_absent(struct sgx_file *f, unsigned long page);

/* track.c */
/* An ETRACK cycle: when it returns, no thread uses an older translation. */
int track(struct sgx_file *f);

/* mmap.c */
int sgx_mmap(struct file *file, struct vm_area_struct *vma);
int mmap_open(void);
void mmap_close(void);
/* Brings the enclave's page table in line with the mappings of [from, to) in the current process. */
void follow_mappings(struct sgx_file *f, unsigned long from, unsigned long to);

/* debug.c */
/* ptrace's access to the enclave's pages, with the mmap_lock of the process held. */
int sgx_vma_access(struct vm_area_struct *vma, unsigned long address, void *data, int length, int write);

/* provision.c, quote.c */
bool is_provision_file(int fd);
extern const struct file_operations provision_operations;
extern const struct file_operations quote_operations;

#endif
