// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where CPUID instructions are in the files that programs execute, and their replacement. When a file is mapped with
 * execute permission, the work is done before the program runs on: the file is searched once (and remembered), what is
 * found is changed in the process' private copy of the page.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kprobes.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/task_work.h>
#include <linux/vmalloc.h>
#include <asm/insn.h>

#include "cpuid.h"
#include "nsgx.h"

#define CHUNK 65536u
/* Code before an instruction that has to decode up to it; decoders fall into step within a few instructions. */
#define LEAD 64u
#define STARTS 16u
#define STARTS_AGREE 12u
#define SITES 64
#define FILES 64

/* Programs and libraries that ask for other things only; the C library is in everybody's way. */
static const char *const passed_over[] = { "ld-linux", "libc.so", "libc-", "libm.so", "libstdc++", "libgcc_s", "libcrypto",
					   "busybox", "agent" };

struct known_file {
	unsigned long inode;
	dev_t device;
	loff_t size;
	struct timespec64 changed;
	u32 count;
	loff_t sites[SITES];
};

static struct known_file *known;
static unsigned int known_next;
static DEFINE_MUTEX(known_lock);
static atomic_t under_way = ATOMIC_INIT(0);
static int (*decode)(struct insn *insn, const void *code, int length, enum insn_mode mode);

/* True when decoding from most of the places before `at` comes to an instruction that begins there. */
static bool is_instruction(const u8 *code, u32 at)
{
	u32 agree = 0;

	for (u32 n = 0; n < STARTS; n++) {
		u32 from = at - LEAD + n;

		while (from < at) {
			struct insn insn;

			if (decode(&insn, code + from, MAX_INSN_SIZE, INSN_MODE_64) < 0 || !insn.length)
				from++;
			else
				from += insn.length;
		}
		agree += from == at;
	}
	return agree >= STARTS_AGREE;
}

static void search(struct file *file, struct known_file *found)
{
	static const u8 wanted[NSGX_CPUID_BYTES] = NSGX_CPUID_ORIGINAL;
	u8 *buffer = vmalloc(LEAD + CHUNK + MAX_INSN_SIZE);

	if (!buffer)
		return;
	for (loff_t at = 0; at < found->size && found->count < SITES; at += CHUNK) {
		loff_t from = at;
		ssize_t length;

		memset(buffer, 0, LEAD);
		if (at >= LEAD) {
			loff_t before = at - LEAD;

			kernel_read(file, buffer, LEAD, &before);
		}
		length = kernel_read(file, buffer + LEAD, CHUNK + MAX_INSN_SIZE, &from);
		if (length < NSGX_CPUID_BYTES)
			break;
		memset(buffer + LEAD + length, 0, CHUNK + MAX_INSN_SIZE - length);
		for (u32 n = 0; n < min_t(u32, length, CHUNK) && found->count < SITES; n++)
			if (buffer[LEAD + n] == wanted[0] && buffer[LEAD + n + 1] == wanted[1] &&
			    is_instruction(buffer, LEAD + n))
				found->sites[found->count++] = at + n;
		cond_resched();
	}
	vfree(buffer);
}

static bool same(const struct known_file *a, const struct known_file *b)
{
	return a->inode == b->inode && a->device == b->device && a->size == b->size &&
	       timespec64_equal(&a->changed, &b->changed);
}

/* The sites of a file, from memory or by a search. */
static void sites_of(struct file *file, struct known_file *out)
{
	struct inode *inode = file_inode(file);

	memset(out, 0, sizeof(*out));
	out->inode = inode->i_ino;
	out->device = inode->i_sb->s_dev;
	out->size = i_size_read(inode);
	out->changed = inode->i_mtime;
	mutex_lock(&known_lock);
	for (int i = 0; i < FILES; i++) {
		if (!same(&known[i], out))
			continue;
		*out = known[i];
		goto unlock;
	}
	search(file, out);
	known[known_next++ % FILES] = *out;
unlock:
	mutex_unlock(&known_lock);
}

struct mapped {
	struct callback_head work;
	unsigned long start;
};

static void replace(struct file *file, unsigned long start, unsigned long end, loff_t offset)
{
	static const u8 original[NSGX_CPUID_BYTES] = NSGX_CPUID_ORIGINAL;
	static u8 replaced[NSGX_CPUID_BYTES] = NSGX_CPUID_REPLACED;
	struct known_file *file_sites = kmalloc(sizeof(*file_sites), GFP_KERNEL);

	if (!file_sites)
		return;
	sites_of(file, file_sites);
	for (u32 i = 0; i < file_sites->count; i++) {
		unsigned long at = start + (file_sites->sites[i] - offset);
		u8 code[NSGX_CPUID_BYTES];

		if (file_sites->sites[i] < offset || at + NSGX_CPUID_BYTES > end)
			continue;
		if (access_process_vm(current, at, code, sizeof(code), FOLL_FORCE) == sizeof(code) &&
		    !memcmp(code, original, sizeof(code)))
			access_process_vm(current, at, replaced, sizeof(replaced), FOLL_FORCE | FOLL_WRITE);
	}
	kfree(file_sites);
}

static bool wanted_file(const struct file *file)
{
	const char *name = file->f_path.dentry->d_name.name;

	if (!S_ISREG(file_inode(file)->i_mode))
		return false;
	for (unsigned int i = 0; i < ARRAY_SIZE(passed_over); i++)
		if (!strncmp(name, passed_over[i], strlen(passed_over[i])))
			return false;
	return true;
}

static void mapped_work(struct callback_head *head)
{
	struct mapped *m = container_of(head, struct mapped, work);
	struct mm_struct *mm = current->mm;
	unsigned long end = 0;
	struct file *file = NULL;
	loff_t offset = 0;

	if (mm && !(current->flags & PF_EXITING)) {
		struct vm_area_struct *vma;

		mmap_read_lock(mm);
		vma = find_vma(mm, m->start);
		if (vma && vma->vm_start <= m->start && vma->vm_file && vma->vm_flags & VM_EXEC) {
			file = get_file(vma->vm_file);
			end = vma->vm_end;
			offset = ((loff_t)vma->vm_pgoff << PAGE_SHIFT) + (m->start - vma->vm_start);
		}
		mmap_read_unlock(mm);
	}
	if (file) {
		replace(file, m->start, end, offset);
		fput(file);
	}
	kfree(m);
	atomic_dec(&under_way);
}

/* perf_event_mmap(vma): called for every mapping that a program makes, with mmap_lock held. */
static int on_mapping(struct kprobe *probe, struct pt_regs *regs)
{
	const struct vm_area_struct *vma = (const struct vm_area_struct *)regs->di;
	struct mapped *m;

	if (!(vma->vm_flags & VM_EXEC) || !vma->vm_file || vma->vm_mm != current->mm || current->flags & PF_KTHREAD)
		return 0;
	if (!wanted_file(vma->vm_file))
		return 0;
	m = kmalloc(sizeof(*m), GFP_ATOMIC);
	if (!m)
		return 0;
	m->start = vma->vm_start;
	init_task_work(&m->work, mapped_work);
	atomic_inc(&under_way);
	if (task_work_add(current, &m->work, TWA_RESUME)) {
		atomic_dec(&under_way);
		kfree(m);
	}
	return 0;
}

static struct kprobe mapping = { .symbol_name = "perf_event_mmap", .pre_handler = on_mapping };

/* The kernel's decoder is there, but not for modules: a probe tells where. */
static int find_decoder(void)
{
	struct kprobe probe = { .symbol_name = "insn_decode" };
	int error = register_kprobe(&probe);

	if (error)
		return error;
	decode = (void *)probe.addr;
	unregister_kprobe(&probe);
	return 0;
}

int nsgx_cpuid_sites_open(void)
{
	int error = find_decoder();

	if (error)
		return error;
	known = vzalloc(FILES * sizeof(*known));
	if (!known)
		return -ENOMEM;
	error = register_kprobe(&mapping);
	if (error)
		vfree(known);
	return error;
}

void nsgx_cpuid_sites_close(void)
{
	unregister_kprobe(&mapping);
	while (atomic_read(&under_way))
		msleep(1);
	/* The last one may still be on its way out of mapped_work. */
	synchronize_rcu_tasks();
	vfree(known);
}
