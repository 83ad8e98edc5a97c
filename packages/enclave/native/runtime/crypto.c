/* The face of BearSSL that enclave code sees. */
#include "bearssl.h"
#include "runtime.h"

#define RDRAND_TRIES 32

void nsgx_random(void *to, size_t length) {
    uint8_t *at = to;
    while (length > 0) {
        unsigned long long word;
        int tries = 0;
        uint8_t good;
        do {
            __asm__ volatile("rdrand %0; setc %1" : "=r"(word), "=qm"(good) : : "cc");
            if (!good && ++tries == RDRAND_TRIES) nsgx_abort();
        } while (!good);
        size_t part = length < 8 ? length : 8;
        memcpy(at, &word, part);
        at += part;
        length -= part;
    }
}

void nsgx_wipe(void *data, size_t length) {
    memset(data, 0, length);
    __asm__ volatile("" : : "r"(data) : "memory");
}

bool nsgx_equal(const void *a, const void *b, size_t length) {
    const volatile uint8_t *left = a, *right = b;
    uint8_t difference = 0;
    for (size_t i = 0; i < length; i++) difference |= left[i] ^ right[i];
    return difference == 0;
}

void nsgx_sha256(const void *data, size_t length, uint8_t digest[32]) {
    br_sha256_context context;
    br_sha256_init(&context);
    br_sha256_update(&context, data, length);
    br_sha256_out(&context, digest);
    nsgx_wipe(&context, sizeof context);
}

void nsgx_hmac_sha256(const void *key, size_t key_length, const void *data, size_t length, uint8_t mac[32]) {
    br_hmac_key_context keyed;
    br_hmac_context context;
    br_hmac_key_init(&keyed, &br_sha256_vtable, key, key_length);
    br_hmac_init(&context, &keyed, 32);
    br_hmac_update(&context, data, length);
    br_hmac_out(&context, mac);
    nsgx_wipe(&keyed, sizeof keyed);
    nsgx_wipe(&context, sizeof context);
}

void nsgx_hkdf_sha256(const void *secret, size_t secret_length, const void *salt, size_t salt_length, const void *info,
                      size_t info_length, void *out, size_t out_length) {
    br_hkdf_context context;
    br_hkdf_init(&context, &br_sha256_vtable, salt_length == 0 ? BR_HKDF_NO_SALT : salt, salt_length);
    br_hkdf_inject(&context, secret, secret_length);
    br_hkdf_flip(&context);
    br_hkdf_produce(&context, info, info_length, out, out_length);
    nsgx_wipe(&context, sizeof context);
}

/* One block: AES in counter mode over zeros, the block being nonce and counter. */
static void aes_block(const void *keys, bool portable, uint8_t block[16]) {
    uint8_t out[16] = {0};
    uint32_t counter = (uint32_t)block[12] << 24 | (uint32_t)block[13] << 16 | (uint32_t)block[14] << 8 | block[15];
    if (portable)
        br_aes_ct64_ctr_run(keys, block, counter, out, sizeof out);
    else
        br_aes_x86ni_ctr_run(keys, block, counter, out, sizeof out);
    memcpy(block, out, sizeof out);
    nsgx_wipe(out, sizeof out);
}

union aes_keys {
    br_aes_x86ni_ctr_keys native;
    br_aes_ct64_ctr_keys portable;
};

static const br_block_ctr_class **aes_start(union aes_keys *keys, const void *key, size_t key_length) {
    if (nsgx_missing & MISSING_AESNI) {
        br_aes_ct64_ctr_init(&keys->portable, key, key_length);
        return &keys->portable.vtable;
    }
    br_aes_x86ni_ctr_init(&keys->native, key, key_length);
    return &keys->native.vtable;
}

void nsgx_aes128_cmac(const uint8_t key[16], const void *data, size_t blocks, uint8_t mac[16]) {
    union aes_keys keys;
    bool portable = (nsgx_missing & MISSING_AESNI) != 0;
    const uint8_t *at = data;
    uint8_t subkey[16] = {0};
    aes_start(&keys, key, 16);
    aes_block(&keys, portable, subkey);
    uint8_t carry = (uint8_t)(0 - (subkey[0] >> 7)) & 0x87;
    for (int i = 0; i < 15; i++) subkey[i] = (uint8_t)(subkey[i] << 1 | subkey[i + 1] >> 7);
    subkey[15] = (uint8_t)(subkey[15] << 1) ^ carry;
    memset(mac, 0, 16);
    for (size_t block = 0; block < blocks; block++) {
        for (int i = 0; i < 16; i++) mac[i] ^= at[block * 16 + i] ^ (block + 1 == blocks ? subkey[i] : 0);
        aes_block(&keys, portable, mac);
    }
    nsgx_wipe(&keys, sizeof keys);
    nsgx_wipe(subkey, sizeof subkey);
}

bool nsgx_gcm(bool encrypt, const void *key, size_t key_length, const uint8_t *iv, const void *header,
              size_t header_length, const void *aad, size_t aad_length, void *data, size_t length,
              uint8_t tag[NSGX_GCM_TAG]) {
    union aes_keys keys;
    br_gcm_context context;
    if (key_length != 16 && key_length != 24 && key_length != 32) return false;
    br_gcm_init(&context, aes_start(&keys, key, key_length),
                nsgx_missing & MISSING_PCLMUL ? br_ghash_ctmul64 : br_ghash_pclmul);
    br_gcm_reset(&context, iv, NSGX_GCM_IV);
    br_gcm_aad_inject(&context, header, header_length);
    br_gcm_aad_inject(&context, aad, aad_length);
    br_gcm_flip(&context);
    br_gcm_run(&context, encrypt, data, length);
    br_gcm_get_tag(&context, tag);
    nsgx_wipe(&keys, sizeof keys);
    nsgx_wipe(&context, sizeof context);
    return true;
}

bool nsgx_gcm_encrypt(const void *key, size_t key_length, const uint8_t iv[NSGX_GCM_IV], const void *aad,
                      size_t aad_length, void *data, size_t length, uint8_t tag[NSGX_GCM_TAG]) {
    return nsgx_gcm(true, key, key_length, iv, NULL, 0, aad, aad_length, data, length, tag);
}

bool nsgx_gcm_decrypt(const void *key, size_t key_length, const uint8_t iv[NSGX_GCM_IV], const void *aad,
                      size_t aad_length, void *data, size_t length, const uint8_t tag[NSGX_GCM_TAG]) {
    uint8_t computed[NSGX_GCM_TAG];
    bool good = nsgx_gcm(false, key, key_length, iv, NULL, 0, aad, aad_length, data, length, computed) &&
                nsgx_equal(computed, tag, NSGX_GCM_TAG);
    if (!good) nsgx_wipe(data, length);
    nsgx_wipe(computed, sizeof computed);
    return good;
}
