/* ECDSA and ECDH with P-256 for enclave code. Constant time. */
#ifndef NSGX_ECDSA_H
#define NSGX_ECDSA_H

#include <stdbool.h>
#include <stdint.h>

/* A fresh key: its secret, and its point X and Y, all big endian. */
void nsgx_p256_generate(uint8_t secret[32], uint8_t point[64]);

/* A signature r and s of a SHA-256 digest, with the nonce of RFC 6979. Zero for a secret that is none. */
void nsgx_p256_sign(const uint8_t secret[32], const uint8_t digest[32], uint8_t signature[64]);

/* What both ends of an exchange of keys have: X of the product. False for a point that is not on the curve. */
bool nsgx_p256_shared(const uint8_t secret[32], const uint8_t point[64], uint8_t shared[32]);

#endif
