/* A certificate with evidence (RA-TLS): X.509 (RFC 5280) whose extension is the tagged evidence of TCG DICE, a quote and the
 * claims that its report data hash: here the hash of the certificate's public key. Written from the end, so that lengths are
 * known when they are needed. */
#include <stdbool.h>

#include "attestation.h"
#include "libos.h"
#include "nsgx_crypto.h"
#include "nsgx_ecdsa.h"

struct der {
    uint8_t *bytes;
    size_t at; /* what is written begins here */
    bool full;
};

static void put(struct der *d, const void *bytes, size_t length) {
    if (length > d->at) d->full = true;
    if (d->full) return;
    d->at -= length;
    memcpy(d->bytes + d->at, bytes, length);
}

static void put_byte(struct der *d, uint8_t byte) { put(d, &byte, 1); }

/* What was written since `end` becomes the contents of an element. */
static void wrap(struct der *d, uint8_t tag, size_t end) {
    size_t length = end - d->at;
    if (length > 0xffff) d->full = true;
    put_byte(d, (uint8_t)length);
    if (length > 0xff) put_byte(d, (uint8_t)(length >> 8));
    if (length > 0x7f) put_byte(d, length > 0xff ? 0x82 : 0x81);
    put_byte(d, tag);
}

enum { INTEGER = 2, BIT_STRING = 3, OCTET_STRING = 4, UTF8_STRING = 0x0c, SEQUENCE = 0x30, SET = 0x31 };

/* Object identifiers and what stands with them. */
static const uint8_t ECDSA_SHA256[] = {0x30, 0x0a, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2};
static const uint8_t COMMON_NAME[] = {6, 3, 0x55, 4, 3};
/* 2.23.133.5.4.9, tagged evidence */
static const uint8_t EVIDENCE[] = {6, 6, 0x67, 0x81, 5, 5, 4, 9};
static const uint8_t SPKI[] = {0x30, 0x59, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6,
                               8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7, 3, 0x42, 0, 4};
static const uint8_t PKCS8[] = {0x30, 0x81, 0x87, 2, 1, 0, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6,
                                8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7, 4, 0x6d, 0x30, 0x6b, 2, 1, 1, 4, 0x20};
static const uint8_t PKCS8_POINT[] = {0xa1, 0x44, 3, 0x42, 0, 4};
/* The time is the host's, so it limits nothing: from 2020 on, without an end that is known (RFC 5280, 4.1.2.5). */
static const char NOT_BEFORE[] = "\x17\x0d" "200101000000Z", NOT_AFTER[] = "\x18\x0f" "99991231235959Z";
static const char NAME[] = "NestedSGX enclave";

#define SPKI_LENGTH (sizeof SPKI + 64)
/* CBOR: {"pubkey-hash": bytes of [1 (SHA-256), digest]} */
static const uint8_t CLAIMS[] = {0xa1, 0x6b, 'p', 'u', 'b', 'k', 'e', 'y', '-', 'h', 'a', 's', 'h', 0x58, 0x24, 0x82, 1, 0x58, 0x20};
#define CLAIMS_LENGTH (sizeof CLAIMS + 32)

static void spki(uint8_t out[SPKI_LENGTH], const uint8_t point[64]) {
    memcpy(out, SPKI, sizeof SPKI);
    memcpy(out + sizeof SPKI, point, 64);
}

static void claims_of(uint8_t out[CLAIMS_LENGTH], const uint8_t point[64]) {
    uint8_t key[SPKI_LENGTH];
    spki(key, point);
    memcpy(out, CLAIMS, sizeof CLAIMS);
    nsgx_sha256(key, sizeof key, out + sizeof CLAIMS);
}

void libos_key_claim(const uint8_t point[64], uint8_t report_data[64]) {
    uint8_t claims[CLAIMS_LENGTH];
    claims_of(claims, point);
    memset(report_data, 0, 64);
    nsgx_sha256(claims, sizeof claims, report_data);
}

static void put_evidence(struct der *d, const uint8_t point[64], const uint8_t *quote, size_t length) {
    uint8_t claims[CLAIMS_LENGTH];
    claims_of(claims, point);
    put(d, claims, sizeof claims);
    put(d, (const uint8_t[]){0x58, CLAIMS_LENGTH}, 2);
    put(d, quote, length);
    /* Tag 60000: an array of a quote and claims. */
    put(d, (const uint8_t[]){0xd9, 0xea, 0x60, 0x82, 0x59, (uint8_t)(length >> 8), (uint8_t)length}, 7);
}

static void put_name(struct der *d) {
    size_t end = d->at;
    put(d, NAME, sizeof NAME - 1);
    wrap(d, UTF8_STRING, end);
    put(d, COMMON_NAME, sizeof COMMON_NAME);
    wrap(d, SEQUENCE, end);
    wrap(d, SET, end);
    wrap(d, SEQUENCE, end);
}

static void put_integer(struct der *d, const uint8_t *bytes, size_t length) {
    size_t end = d->at;
    while (length > 1 && bytes[0] == 0) bytes++, length--;
    put(d, bytes, length);
    if (bytes[0] >= 0x80) put_byte(d, 0);
    wrap(d, INTEGER, end);
}

static void put_signed_part(struct der *d, const uint8_t point[64], const uint8_t *quote, size_t quote_length) {
    uint8_t key[SPKI_LENGTH], serial[32];
    size_t end = d->at, whole = end;
    put_evidence(d, point, quote, quote_length);
    wrap(d, OCTET_STRING, end);
    put(d, EVIDENCE, sizeof EVIDENCE);
    wrap(d, SEQUENCE, end);
    wrap(d, SEQUENCE, end);
    wrap(d, 0xa3, end);
    spki(key, point);
    put(d, key, sizeof key);
    put_name(d);
    end = d->at;
    put(d, NOT_AFTER, sizeof NOT_AFTER - 1);
    put(d, NOT_BEFORE, sizeof NOT_BEFORE - 1);
    wrap(d, SEQUENCE, end);
    put_name(d);
    put(d, ECDSA_SHA256, sizeof ECDSA_SHA256);
    nsgx_sha256(key, sizeof key, serial);
    serial[0] = (serial[0] & 0x3f) | 0x40;
    put_integer(d, serial, 16);
    put(d, (const uint8_t[]){0xa0, 3, INTEGER, 1, 2}, 5);
    wrap(d, SEQUENCE, whole);
}

size_t libos_certificate(uint8_t *out, size_t room, size_t *from, const uint8_t secret[32], const uint8_t point[64],
                         const uint8_t *quote, size_t quote_length) {
    struct der d = {out, room, quote_length > LIBOS_QUOTE_MAX};
    uint8_t digest[32], signature[64], encoded[80];
    /* The signature comes last and is written first: the signed part is made twice. */
    if (!d.full) put_signed_part(&d, point, quote, quote_length);
    if (d.full) return 0;
    nsgx_sha256(out + d.at, room - d.at, digest);
    nsgx_p256_sign(secret, digest, signature);
    struct der s = {encoded, sizeof encoded, false};
    put_integer(&s, signature + 32, 32);
    put_integer(&s, signature, 32);
    wrap(&s, SEQUENCE, sizeof encoded);
    put_byte(&s, 0);
    d.at = room;
    put(&d, encoded + s.at, sizeof encoded - s.at);
    wrap(&d, BIT_STRING, room);
    put(&d, ECDSA_SHA256, sizeof ECDSA_SHA256);
    put_signed_part(&d, point, quote, quote_length);
    wrap(&d, SEQUENCE, room);
    *from = d.at;
    return d.full || s.full ? 0 : room - d.at;
}

void libos_private_key(uint8_t out[138], const uint8_t secret[32], const uint8_t point[64]) {
    memcpy(out, PKCS8, 36);
    memcpy(out + 36, secret, 32);
    memcpy(out + 68, PKCS8_POINT, 6);
    memcpy(out + 74, point, 64);
}

static char *append(char *to, const char *text) {
    while (*text != 0) *to++ = *text++;
    return to;
}

size_t libos_pem(char *out, size_t room, const char *label, const uint8_t *der, size_t length) {
    /* In one line of the cache: which part of a key is looked up is not to be seen. */
    static const char DIGITS[64] __attribute__((aligned(64), nonstring)) =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *to = out;
    if (length > room || length / 3 * 4 + length / 48 + 160 > room) return 0;
    to = append(append(append(to, "-----BEGIN "), label), "-----\n");
    for (size_t i = 0; i < length; i += 3) {
        size_t left = length - i;
        uint32_t group = (uint32_t)der[i] << 16 | (left > 1 ? (uint32_t)der[i + 1] << 8 : 0) | (left > 2 ? der[i + 2] : 0);
        *to++ = DIGITS[group >> 18];
        *to++ = DIGITS[group >> 12 & 63];
        *to++ = left > 1 ? DIGITS[group >> 6 & 63] : '=';
        *to++ = left > 2 ? DIGITS[group & 63] : '=';
        if (i % 48 == 45 || left <= 3) *to++ = '\n';
    }
    to = append(append(append(to, "-----END "), label), "-----\n");
    return (size_t)(to - out);
}
