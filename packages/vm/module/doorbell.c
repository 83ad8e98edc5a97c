// SPDX-License-Identifier: GPL-2.0-only
/*
 * Words and sleepers. Outwards: a mark in the relay page and, when the relay sleeps, one write to a port. Inwards: the
 * other side changes the word; a guest that says that it sleeps is interrupted by a byte at a serial port.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitops.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/sched/clock.h>
#include <linux/sched/signal.h>
#include <linux/serial_reg.h>
#include <linux/wait.h>
#include <asm/tsc.h>

#include "nsgx.h"

/* What sleeping and being interrupted costs: longer spins do not pay. */
static unsigned int spin_us = 50;
module_param(spin_us, uint, 0644);
MODULE_PARM_DESC(spin_us, "microseconds to spin for an answer before sleeping");

/* Longest sleep without looking: an interrupt may be lost with its relay. */
#define LOOK_NS (250 * NSEC_PER_MSEC)

static DECLARE_WAIT_QUEUE_HEAD(sleepers);

struct sleeper {
	wait_queue_entry_t entry;
	const struct nsgx_answer *answer;
};

static bool answered(const struct nsgx_answer *a)
{
	return smp_load_acquire(a->word) == a->wanted;
}

static bool lost(const struct nsgx_answer *a)
{
	return a->progress && READ_ONCE(*a->progress) == PROGRESS_LOST;
}

/* Runs in the interrupt: only those wake up whose answer is there. */
static int wake_if_answered(wait_queue_entry_t *entry, unsigned int mode, int flags, void *key)
{
	struct sleeper *s = container_of(entry, struct sleeper, entry);

	if (!answered(s->answer) && !lost(s->answer))
		return 0;
	return default_wake_function(entry, mode, flags, key);
}

static int sleep_for(const struct nsgx_answer *a, unsigned int flags, u64 limit_ns)
{
	const bool interruptible = flags & NSGX_WAIT_INTERRUPTIBLE;
	u64 start = local_clock();
	struct sleeper s = { .answer = a };
	int result = 0;

	init_waitqueue_func_entry(&s.entry, wake_if_answered);
	s.entry.private = current;
	add_wait_queue(&sleepers, &s.entry);
	xchg(a->asleep, 1);
	for (;;) {
		u64 gone = local_clock() - start;
		ktime_t left;

		set_current_state(interruptible ? TASK_INTERRUPTIBLE : TASK_UNINTERRUPTIBLE);
		if (answered(a))
			break;
		result = lost(a) ? -EIO : interruptible && signal_pending(current) ? -EINTR : gone >= limit_ns ? -ETIMEDOUT : 0;
		if (result)
			break;
		left = ns_to_ktime(min_t(u64, limit_ns - gone, LOOK_NS));
		schedule_hrtimeout_range(&left, 50 * NSEC_PER_USEC, HRTIMER_MODE_REL);
	}
	__set_current_state(TASK_RUNNING);
	remove_wait_queue(&sleepers, &s.entry);
	WRITE_ONCE(*a->asleep, 0);
	return result;
}

u32 nsgx_spin_cycles(void)
{
	return min_t(u64, (u64)READ_ONCE(spin_us) * tsc_khz / 1000, U32_MAX);
}

int nsgx_await(const struct nsgx_answer *a, unsigned int flags, u64 limit_ns)
{
	const bool atomic = flags & NSGX_WAIT_ATOMIC;
	u64 start = local_clock(), gone = 0;
	u64 spin_ns = atomic ? limit_ns : min_t(u64, (u64)READ_ONCE(spin_us) * NSEC_PER_USEC, limit_ns);

	do {
		for (int i = 0; i < 16; i++) {
			if (answered(a))
				return 0;
			barrier();
		}
		if (lost(a))
			return answered(a) ? 0 : -EIO;
		if (!atomic && need_resched())
			break;
		gone = local_clock() - start;
	} while (gone < spin_ns);
	if (atomic)
		return -ETIMEDOUT;
	return sleep_for(a, flags, limit_ns > gone ? limit_ns - gone : 0);
}

void nsgx_kick_page(const void *page)
{
	struct relay *relay = nsgx_window.relay;
	unsigned long index = (page - nsgx_window.base) / NSGX_PAGE;

	set_bit(index, (unsigned long *)relay->bitmap);
	set_bit(index / BITS_PER_LONG, (unsigned long *)relay->summary);
	smp_mb__after_atomic();
	if (READ_ONCE(relay->relay_asleep))
		outb('!', nsgx_window.info.kick_port);
}

static irqreturn_t uart_interrupt(int irq, void *data)
{
	unsigned int port = nsgx_window.info.irq_port;
	unsigned int bytes = 0;

	/* A port that is always readable must not hold this CPU. */
	while (bytes < 256 && (inb(port + UART_LSR) & UART_LSR_DR)) {
		inb(port + UART_RX);
		bytes++;
	}
	if (!bytes)
		return IRQ_NONE;
	/* Left full it would not interrupt again. */
	if (bytes == 256)
		outb(UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR, port + UART_FCR);
	wake_up_all(&sleepers);
	return IRQ_HANDLED;
}

int nsgx_doorbell_open(void)
{
	unsigned int port = nsgx_window.info.irq_port;
	int error;

	if (inb(port + UART_LSR) == 0xff) {
		pr_err("no serial port at 0x%x to be interrupted by\n", port);
		return -ENODEV;
	}
	error = request_irq(nsgx_window.info.irq, uart_interrupt, IRQF_SHARED, KBUILD_MODNAME, &sleepers);
	if (error) {
		pr_err("interrupt %u cannot be had: %d\n", nsgx_window.info.irq, error);
		return error;
	}
	/* The 8250 driver may have found the port, and uses it only when somebody opens it. */
	outb(0, port + UART_IER);
	outb(UART_LCR_WLEN8, port + UART_LCR);
	outb(UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR | UART_FCR_CLEAR_XMIT, port + UART_FCR);
	outb(UART_MCR_DTR | UART_MCR_RTS | UART_MCR_OUT2, port + UART_MCR);
	inb(port + UART_RX);
	outb(UART_IER_RDI, port + UART_IER);
	return 0;
}

void nsgx_doorbell_close(void)
{
	outb(0, nsgx_window.info.irq_port + UART_IER);
	free_irq(nsgx_window.info.irq, &sleepers);
}
