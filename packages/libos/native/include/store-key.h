/* The keys of a store: of EGETKEY or of a key server. */
#ifndef LIBOS_STORE_KEY_H
#define LIBOS_STORE_KEY_H

#include <stdbool.h>
#include <stdint.h>

/* Whose key it is (core/fs/store-folder.ts). The first two are those of KEYREQUEST. */
enum { LIBOS_KEY_MRENCLAVE = 1, LIBOS_KEY_MRSIGNER, LIBOS_KEY_PROVISIONED };

/* What roots say of it. */
struct libos_key_choice {
    uint32_t policy;
    uint16_t isv_svn, config_svn;
    uint32_t reserved;
    uint8_t cpusvn[16], key_id[32];
};

/* For a new store. */
void libos_choose_key(uint32_t policy, struct libos_key_choice *choice);

/* The key of its blocks, then that of its roots; false when this enclave does not have it. */
bool libos_store_keys(const struct libos_key_choice *choice, uint8_t both[64]);

/* A key server's key, which is kept until libos_forget_key. */
void libos_keep_key(const uint8_t key[32]);
void libos_forget_key(void);

#endif
