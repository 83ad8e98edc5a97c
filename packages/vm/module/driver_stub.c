// SPDX-License-Identifier: GPL-2.0-only
#include "nsgx.h"
int nsgx_driver_open(void) { return 0; }
void nsgx_driver_close(void) {}
int nsgx_driver_gate(struct nsgx_enclave *e, unsigned long tcs) { return -ENOENT; }
int nsgx_driver_fault(struct nsgx_enclave *e, u32 gate, unsigned long address, u32 *error_code) { return -EFAULT; }
bool nsgx_driver_entry_fault(struct nsgx_enclave *e, u32 gate, unsigned long tcs, u32 vector, u32 tries) { return false; }
void nsgx_driver_mm_gone(struct nsgx_enclave *e) {}
void nsgx_driver_free(struct nsgx_enclave *e) {}
