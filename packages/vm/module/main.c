// SPDX-License-Identifier: GPL-2.0-only
/* Loading and unloading. Open files and mappings of them hold the module; see enclu.c for tasks on their way in. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>

#include "cpuid.h"
#include "nsgx.h"

static unsigned long window = 0x8000000;
module_param(window, ulong, 0444);
MODULE_PARM_DESC(window, "guest-physical address of the window shared with the machine");

static int __init nsgx_load(void)
{
	int error = nsgx_window_open(window);

	if (error)
		return error;
	error = nsgx_doorbell_open();
	if (error)
		goto window;
	error = nsgx_svsm_open();
	if (error)
		goto doorbell;
	error = nsgx_enclu_open();
	if (error)
		goto svsm;
	error = nsgx_cpuid_open();
	if (error)
		goto enclu;
	error = nsgx_driver_open();
	if (error)
		goto cpuid;
	return 0;
cpuid:
	nsgx_cpuid_close();
enclu:
	nsgx_enclu_close();
	nsgx_notifier_drain();
svsm:
	nsgx_svsm_close();
doorbell:
	nsgx_doorbell_close();
window:
	nsgx_window_close();
	return error;
}

static void __exit nsgx_unload(void)
{
	nsgx_driver_close();
	nsgx_cpuid_close();
	nsgx_enclu_close();
	nsgx_notifier_drain();
	nsgx_svsm_close();
	nsgx_doorbell_close();
	nsgx_window_close();
}

module_init(nsgx_load);
module_exit(nsgx_unload);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("SGX enclaves of a confidential virtual machine's monitor");
