/* What /dev/attestation has (core/fs/attestation.ts): reports, quotes, keys of EGETKEY, a certificate with evidence. */
#ifndef LIBOS_ATTESTATION_H
#define LIBOS_ATTESTATION_H

#include <stddef.h>
#include <stdint.h>

enum { OP_ATTEST = 104 };

/* Bytes of the core's area: the request, then the answer. */
#define LIBOS_ATTEST_ROOM 32768u
/* Largest quote that is taken. */
#define LIBOS_QUOTE_MAX 14336u

/* The core's request: what it wants, and its area. How many bytes of that are the answer, or an error. */
int64_t libos_attest(const uint64_t a[6], uint8_t *memory, uint64_t size);

/* A quote over these data; its length in `to`, which has LIBOS_QUOTE_MAX bytes, or -EACCES with a note. */
int64_t libos_quote(const uint8_t data[64], uint8_t *to);

/* host.c: the quoting service's TARGETINFO for an empty report, else its quote; how many bytes, 0 for none. */
size_t libos_host_attest(const uint8_t *report, size_t length, uint8_t *to, size_t room);

/* certificate.c: a self-signed certificate (DER) of a P-256 key with evidence for it; 0 when it does not fit `room`. `from` is
 * where in `out` it begins; the report data of the quote are those of libos_key_claim. */
size_t libos_certificate(uint8_t *out, size_t room, size_t *from, const uint8_t secret[32], const uint8_t point[64],
                         const uint8_t *quote, size_t quote_length);
/* The report data of such a quote. */
void libos_key_claim(const uint8_t point[64], uint8_t report_data[64]);
/* The key as PKCS #8; `out` has 138 bytes. */
void libos_private_key(uint8_t out[138], const uint8_t secret[32], const uint8_t point[64]);
/* PEM; its length, or 0 when it does not fit. */
size_t libos_pem(char *out, size_t room, const char *label, const uint8_t *der, size_t length);

#endif
