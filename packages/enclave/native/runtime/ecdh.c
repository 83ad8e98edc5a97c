/* ECDH on P-256, of BearSSL. */
#include "nsgx_ecdsa.h"

#include "bearssl.h"
#include "nsgx_crypto.h"
#include "runtime.h"

bool nsgx_p256_shared(const uint8_t secret[32], const uint8_t point[64], uint8_t shared[32]) {
    uint8_t whole[65] = {4};
    memcpy(whole + 1, point, 64);
    /* False for what is no point of the curve, whose product would tell of the secret. */
    bool good = br_ec_p256_m31.mul(whole, sizeof whole, secret, 32, BR_EC_secp256r1) == 1;
    if (good) memcpy(shared, whole + 1, 32);
    nsgx_wipe(whole, sizeof whole);
    return good;
}
