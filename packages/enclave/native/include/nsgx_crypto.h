/* Cryptography for enclave code. Constant time; AES-NI and PCLMULQDQ are used unless the host said at initialisation
 * that the CPU has none (the portable code is constant time too, so a lie only costs speed). */
#ifndef NSGX_CRYPTO_H
#define NSGX_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NSGX_GCM_IV 12
#define NSGX_GCM_TAG 16

/* Random bytes from RDRAND. The enclave aborts if the CPU gives none. */
void nsgx_random(void *to, size_t length);

void nsgx_sha256(const void *data, size_t length, uint8_t digest[32]);
void nsgx_hmac_sha256(const void *key, size_t key_length, const void *data, size_t length, uint8_t mac[32]);
/* HKDF-SHA-256 (RFC 5869); out_length <= 8160. */
void nsgx_hkdf_sha256(const void *secret, size_t secret_length, const void *salt, size_t salt_length, const void *info,
                      size_t info_length, void *out, size_t out_length);

/* AES-GCM with a key of 16 or 32 bytes (24 is accepted too) and an IV of 12. In place: `data` is replaced by its
 * encryption. False for another key length. An IV must never be used twice with one key. */
bool nsgx_gcm_encrypt(const void *key, size_t key_length, const uint8_t iv[NSGX_GCM_IV], const void *aad,
                      size_t aad_length, void *data, size_t length, uint8_t tag[NSGX_GCM_TAG]);

/* The reverse; false, and `data` wiped, when the tag does not fit. */
bool nsgx_gcm_decrypt(const void *key, size_t key_length, const uint8_t iv[NSGX_GCM_IV], const void *aad,
                      size_t aad_length, void *data, size_t length, const uint8_t tag[NSGX_GCM_TAG]);

/* Constant-time comparison. */
bool nsgx_equal(const void *a, const void *b, size_t length);

/* Overwrites with zeros; never optimised away. */
void nsgx_wipe(void *data, size_t length);

#endif
