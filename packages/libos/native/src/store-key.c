/* Every store has keys of its own: EGETKEY takes its key id, and the derivation from a key server's key does. */
#include "store-key.h"

#include <string.h>

#include "nsgx_crypto.h"
#include "nsgx_sgx.h"

/* As sealed data: INIT, DEBUG and reserved flags (nsgx_seal.h). */
#define FLAGS_MASK 0xff00000000000003ull
#define MISC_MASK 0xf0000000u

static const char LABEL[8] = {'N', 'S', 'G', 'X', 'S', 'T', 'O', 'R'};
static uint8_t kept[32];
static bool is_kept;

void libos_choose_key(uint32_t policy, struct libos_key_choice *choice) {
    const nsgx_report *self = nsgx_self();
    memset(choice, 0, sizeof *choice);
    choice->policy = policy;
    choice->isv_svn = self->isv_svn;
    choice->config_svn = self->config_svn;
    memcpy(choice->cpusvn, self->cpusvn, 16);
    nsgx_random(choice->key_id, sizeof choice->key_id);
}

static bool of_processor(const struct libos_key_choice *choice, uint8_t both[64]) {
    nsgx_keyrequest request;
    uint8_t key[16];
    memset(&request, 0, sizeof request);
    request.key_name = NSGX_KEY_SEAL;
    request.key_policy = (uint16_t)choice->policy;
    request.isv_svn = choice->isv_svn;
    request.config_svn = choice->config_svn;
    memcpy(request.cpusvn, choice->cpusvn, 16);
    request.attribute_mask.flags = FLAGS_MASK;
    memcpy(request.key_id, choice->key_id, 32);
    request.misc_mask = MISC_MASK;
    if (nsgx_egetkey(&request, key) != 0) return false;
    nsgx_hkdf_sha256(key, sizeof key, LABEL, sizeof LABEL, "store", 5, both, 64);
    nsgx_wipe(key, sizeof key);
    return true;
}

bool libos_store_keys(const struct libos_key_choice *choice, uint8_t both[64]) {
    if (choice->policy != LIBOS_KEY_PROVISIONED) return of_processor(choice, both);
    if (is_kept) nsgx_hkdf_sha256(kept, sizeof kept, choice->key_id, sizeof choice->key_id, "store", 5, both, 64);
    return is_kept;
}

void libos_keep_key(const uint8_t key[32]) {
    memcpy(kept, key, sizeof kept);
    is_kept = true;
}

void libos_forget_key(void) {
    nsgx_wipe(kept, sizeof kept);
    is_kept = false;
}
