/* The SGX structures and leaves that enclave code meets (Intel SDM volume 3D, chapters 38 and 41). */
#ifndef NSGX_SGX_H
#define NSGX_SGX_H

#include <stdbool.h>
#include <stdint.h>

typedef struct nsgx_attributes {
    uint64_t flags;
    uint64_t xfrm;
} nsgx_attributes;

#define NSGX_FLAG_INIT 1u
#define NSGX_FLAG_DEBUG 2u

typedef struct __attribute__((aligned(512))) nsgx_targetinfo {
    uint8_t mrenclave[32];
    nsgx_attributes attributes;
    uint8_t cet_attributes;
    uint8_t reserved1;
    uint16_t config_svn;
    uint32_t miscselect;
    uint8_t reserved2[8];
    uint8_t config_id[64];
    uint8_t reserved3[384];
} nsgx_targetinfo;

typedef struct __attribute__((aligned(512))) nsgx_report {
    uint8_t cpusvn[16];
    uint32_t miscselect;
    uint8_t cet_attributes;
    uint8_t reserved1[11];
    uint8_t isv_ext_prod_id[16];
    nsgx_attributes attributes;
    uint8_t mrenclave[32];
    uint8_t reserved2[32];
    uint8_t mrsigner[32];
    uint8_t reserved3[32];
    uint8_t config_id[64];
    uint16_t isv_prod_id;
    uint16_t isv_svn;
    uint16_t config_svn;
    uint8_t reserved4[42];
    uint8_t isv_family_id[16];
    uint8_t report_data[64];
    uint8_t key_id[32];
    uint8_t mac[16];
} nsgx_report;
#define NSGX_REPORT_SIZE 432 /* bytes of a REPORT; sizeof is padded to its alignment */

typedef struct __attribute__((aligned(512))) nsgx_keyrequest {
    uint16_t key_name;
    uint16_t key_policy;
    uint16_t isv_svn;
    uint16_t reserved1;
    uint8_t cpusvn[16];
    nsgx_attributes attribute_mask;
    uint8_t key_id[32];
    uint32_t misc_mask;
    uint16_t config_svn;
    uint8_t reserved2[434];
} nsgx_keyrequest;

#define NSGX_KEY_REPORT 3
#define NSGX_KEY_SEAL 4
#define NSGX_POLICY_MRENCLAVE 1
#define NSGX_POLICY_MRSIGNER 2

/* EREPORT: a report of this enclave for `target` (zeros: for itself) over 64 bytes. Copies its arguments; none of the
 * pointers needs alignment beyond its type's. */
void nsgx_ereport(const nsgx_targetinfo *target, const uint8_t data[64], nsgx_report *report);

/* EGETKEY: 0, or the leaf's error code (SGX_INVALID_ATTRIBUTE 2, SGX_INVALID_CPUSVN 32, SGX_INVALID_ISVSVN 64,
 * SGX_INVALID_KEYNAME 256). `key` is zero on error. */
uint64_t nsgx_egetkey(const nsgx_keyrequest *request, uint8_t key[16]);

/* A report of this enclave for itself: its identity, made once and then remembered. */
const nsgx_report *nsgx_self(void);

/* Whether a report was made on this CPU for this enclave (its MAC under this enclave's report key). */
bool nsgx_report_valid(const nsgx_report *report);

#endif
