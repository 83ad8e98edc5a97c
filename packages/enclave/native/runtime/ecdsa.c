/* ECDSA on P-256, of BearSSL. */
#include "nsgx_ecdsa.h"

#include "bearssl.h"
#include "nsgx_crypto.h"
#include "runtime.h"

/* The order of the base point (SEC 2, secp256r1). */
static const uint8_t ORDER[32] = {0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                  0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51};

/* 1 to ORDER - 1. Which candidates were refused is no secret. */
static bool in_range(const uint8_t secret[32]) {
    uint32_t borrow = 0, any = 0;
    for (int i = 31; i >= 0; i--) {
        borrow = ((uint32_t)secret[i] - ORDER[i] - borrow) >> 31;
        any |= secret[i];
    }
    return borrow == 1 && any != 0;
}

void nsgx_p256_generate(uint8_t secret[32], uint8_t point[64]) {
    uint8_t whole[65];
    do nsgx_random(secret, 32);
    while (!in_range(secret));
    if (br_ec_p256_m31.mulgen(whole, secret, 32, BR_EC_secp256r1) != sizeof whole) nsgx_abort();
    memcpy(point, whole + 1, 64);
}

void nsgx_p256_sign(const uint8_t secret[32], const uint8_t digest[32], uint8_t signature[64]) {
    uint8_t copy[32];
    memcpy(copy, secret, sizeof copy);
    const br_ec_private_key key = {BR_EC_secp256r1, copy, sizeof copy};
    if (br_ecdsa_i31_sign_raw(&br_ec_p256_m31, &br_sha256_vtable, digest, &key, signature) != 64) memset(signature, 0, 64);
    nsgx_wipe(copy, sizeof copy);
}
