/* Four messages by way of the host, which can refuse to carry them and learns nothing from them but the name of the key:
 *
 *     enclave   HELLO      the server's point, the name of the key
 *     server    CHALLENGE  32 random bytes
 *     enclave   EVIDENCE   a point made for this, a quote over all before it
 *     server    KEY        a point made for this, the key, encrypted
 *
 * The key's encryption comes of two exchanges, of the enclave's point with the server's measured one, which only that server
 * can make, and with its fresh one, so that whoever learns the server's secret later learns no keys of the past; and of all
 * that was said. An answer that opens is therefore that server's, to this start. The other end: packages/nestedsgx/src/keyserver. */
#include "provision.h"

#include <stdlib.h>
#include <string.h>

#include "attestation.h"
#include "libos.h"
#include "nsgx_crypto.h"
#include "nsgx_ecdsa.h"
#include "store-key.h"

enum { HELLO = 1, CHALLENGE, EVIDENCE, KEY, REFUSED };
#define HEAD 8u
#define POINT 64u
#define NAME_MAX 64u
#define NONCE 32u
#define CHALLENGE_BYTES (HEAD + NONCE)
#define KEY_AT (HEAD + POINT)
#define KEY_BYTES (KEY_AT + 32u + NSGX_GCM_TAG)
/* What may come: an answer, or a refusal with its reason, which is the host's to tell. */
#define ANSWER_ROOM 1024u

/* The second half of report data that ask for a key; programs get no report with them. */
static const char PURPOSE[32] = "NestedSGX key request v1";
static const char LABEL[] = "NestedSGX key answer v1";

struct conversation {
    uint8_t hello[HEAD + POINT + NAME_MAX];
    size_t hello_length;
    uint8_t challenge[ANSWER_ROOM];
    uint8_t evidence[HEAD + POINT + LIBOS_QUOTE_MAX];
    size_t evidence_length;
    uint8_t answer[ANSWER_ROOM];
    uint8_t secret[32], shared[64], wrap[32];
};

bool libos_asks_for_key(const uint8_t data[64]) { return nsgx_equal(data + 32, PURPOSE, sizeof PURPOSE); }

static bool fail(const char *why) {
    static const char before[] = "the store has no key: ";
    char text[192];
    size_t length = sizeof before - 1;
    memcpy(text, before, length);
    for (; *why != 0 && length < sizeof text; why++) text[length++] = *why;
    libos_host_note(text, length);
    return false;
}

static void head(uint8_t *to, uint8_t type) {
    memcpy(to, "NSGXKS1", 7);
    to[7] = type;
}

static bool is_message(const uint8_t *bytes, size_t length, uint8_t type) {
    uint8_t expected[HEAD];
    head(expected, type);
    return length >= HEAD && nsgx_equal(bytes, expected, HEAD);
}

/* Whether an answer is the one that is due; else why not is noted. */
static bool is_due(const uint8_t *bytes, size_t length, uint8_t type, size_t due) {
    if (length == 0) return fail("its host brought no answer of the key server");
    if (is_message(bytes, length, REFUSED)) return fail("the key server refused this enclave, and knows why");
    if (length == due && is_message(bytes, length, type)) return true;
    return fail("what its host brought is no answer of a key server");
}

/* SHA-256 of all that was said; of the answer as much as is not encrypted. */
static void transcript(const struct conversation *c, size_t answered, uint8_t digest[32]) {
    uint8_t parts[4][32];
    nsgx_sha256(c->hello, c->hello_length, parts[0]);
    nsgx_sha256(c->challenge, CHALLENGE_BYTES, parts[1]);
    nsgx_sha256(c->evidence, c->evidence_length, parts[2]);
    nsgx_sha256(c->answer, answered, parts[3]);
    nsgx_sha256(parts, sizeof parts, digest);
}

/* The report data are about what was said before, and the enclave's point. */
static bool make_evidence(struct conversation *c) {
    uint8_t data[64], digest[32];
    head(c->evidence, EVIDENCE);
    nsgx_p256_generate(c->secret, c->evidence + HEAD);
    c->evidence_length = HEAD + POINT;
    transcript(c, 0, digest);
    memcpy(data, digest, 32);
    memcpy(data + 32, PURPOSE, sizeof PURPOSE);
    int64_t length = libos_quote(data, c->evidence + HEAD + POINT);
    if (length <= 0) return fail("its host gave no quote");
    c->evidence_length += (size_t)length;
    return true;
}

static bool open_answer(struct conversation *c, const uint8_t server[POINT]) {
    static const uint8_t iv[NSGX_GCM_IV]; /* the key is for this one message */
    static const char wrong[] = "the answer is not one of the key server that the image names to this start";
    uint8_t digest[32];
    if (!nsgx_p256_shared(c->secret, server, c->shared)) return fail("the image names a key server by what is no key");
    if (!nsgx_p256_shared(c->secret, c->answer + HEAD, c->shared + 32)) return fail(wrong);
    transcript(c, KEY_AT, digest);
    nsgx_hkdf_sha256(c->shared, sizeof c->shared, digest, sizeof digest, LABEL, sizeof LABEL - 1, c->wrap, sizeof c->wrap);
    if (!nsgx_gcm_decrypt(c->wrap, sizeof c->wrap, iv, digest, sizeof digest, c->answer + KEY_AT, 32, c->answer + KEY_AT + 32))
        return fail(wrong);
    libos_keep_key(c->answer + KEY_AT);
    return true;
}

static bool converse(struct conversation *c, const uint8_t *source, uint32_t length) {
    head(c->hello, HELLO);
    memcpy(c->hello + HEAD, source, length);
    c->hello_length = HEAD + length;
    size_t got = libos_host_provision(c->hello, c->hello_length, c->challenge, sizeof c->challenge);
    if (!is_due(c->challenge, got, CHALLENGE, CHALLENGE_BYTES) || !make_evidence(c)) return false;
    got = libos_host_provision(c->evidence, c->evidence_length, c->answer, sizeof c->answer);
    return is_due(c->answer, got, KEY, KEY_BYTES) && open_answer(c, source);
}

bool libos_provision(const uint8_t *source, uint32_t length) {
    if (length <= POINT || length > POINT + NAME_MAX) libos_die("the image names no key server", length);
    struct conversation *c = calloc(1, sizeof *c);
    if (c == NULL) return fail("the library OS has no memory for the exchange");
    bool good = converse(c, source, length);
    nsgx_wipe(c, sizeof *c);
    free(c);
    return good;
}
