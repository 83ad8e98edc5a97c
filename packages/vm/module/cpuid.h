/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef NSGX_CPUID_H
#define NSGX_CPUID_H

#define NSGX_CPUID_BYTES 2
#define NSGX_CPUID_ORIGINAL { 0x0f, 0xa2 }
/* Undefined on every processor, and no compiler's way to trap. */
#define NSGX_CPUID_REPLACED { 0x0f, 0x04 }

int nsgx_cpuid_open(void);
void nsgx_cpuid_close(void);
int nsgx_cpuid_sites_open(void);
void nsgx_cpuid_sites_close(void);

#endif
