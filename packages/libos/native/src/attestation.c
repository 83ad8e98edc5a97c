/* /dev/attestation, as far as it needs the processor or the host. The host's quoting service is believed nothing that can be
 * looked at here: a quote must be about the report that was made for it. Whether it is signed rightly its verifier sees. */
#include "attestation.h"

#include <stdbool.h>
#include <stdlib.h>

#include "libos.h"
#include "nsgx.h"
#include "nsgx_crypto.h"
#include "nsgx_ecdsa.h"
#include "nsgx_sgx.h"
#include "provision.h"

/* core/fs/attestation.ts */
enum { WANT_REPORT = 1, WANT_QUOTE, WANT_MRENCLAVE_KEY, WANT_MRSIGNER_KEY, WANT_TARGET, WANT_CERTIFICATE, WANT_PRIVATE_KEY };
#define EIO 5
#define ENOMEM 12
#define EACCES 13
#define REPORT_BODY 384u
/* Quote version 3: header, report body, the length of what follows. */
#define QUOTE_BODY 48u
#define QUOTE_HEAD 436u
#define TARGET_BYTES 512u
/* Of a certificate with the largest quote, and of its PEM. */
#define DER_ROOM (LIBOS_QUOTE_MAX + 1024u)
#define PEM_ROOM 21504u
/* As sealed data: INIT, DEBUG and reserved flags (nsgx_seal.h). */
#define FLAGS_MASK 0xff00000000000003ull
#define MISC_MASK 0xf0000000u

/* What reports say is the program's word: the runtime's command that makes one for the host is refused, or a host would have
 * evidence of this enclave for keys of its own. */
bool nsgx_allow_report(const nsgx_targetinfo *target, const uint8_t data[64]) {
    (void)target;
    (void)data;
    return false;
}

static int64_t report(const uint8_t *data, const uint8_t *target_bytes, uint8_t *to) {
    nsgx_targetinfo target;
    nsgx_report made;
    memcpy(&target, target_bytes, TARGET_BYTES);
    nsgx_ereport(&target, data, &made);
    memcpy(to, &made, NSGX_REPORT_SIZE);
    return NSGX_REPORT_SIZE;
}

int64_t libos_quote(const uint8_t data[64], uint8_t *to) {
    static const char text[] = "the host gave no quote of this enclave";
    uint8_t target[TARGET_BYTES], own[NSGX_REPORT_SIZE];
    uint32_t follows;
    size_t length = 0;
    if (libos_host_attest(NULL, 0, target, sizeof target) == sizeof target) {
        report(data, target, own);
        length = libos_host_attest(own, sizeof own, to, LIBOS_QUOTE_MAX);
    }
    if (length > QUOTE_HEAD) {
        memcpy(&follows, to + QUOTE_HEAD - 4, 4);
        if (to[0] == 3 && to[1] == 0 && nsgx_equal(to + QUOTE_BODY, own, REPORT_BODY) && follows == length - QUOTE_HEAD)
            return (int64_t)length;
    }
    libos_host_note(text, sizeof text - 1);
    return -EACCES;
}

static int64_t sealing_key(uint16_t policy, uint8_t *to) {
    const nsgx_report *self = nsgx_self();
    nsgx_keyrequest request;
    memset(&request, 0, sizeof request);
    request.key_name = NSGX_KEY_SEAL;
    request.key_policy = policy;
    request.isv_svn = self->isv_svn;
    request.config_svn = self->config_svn;
    memcpy(request.cpusvn, self->cpusvn, sizeof request.cpusvn);
    request.attribute_mask.flags = FLAGS_MASK;
    request.misc_mask = MISC_MASK;
    return nsgx_egetkey(&request, to) == 0 ? 16 : -EACCES;
}

static int64_t own_target(uint8_t *to) {
    const nsgx_report *self = nsgx_self();
    nsgx_targetinfo target;
    memset(&target, 0, sizeof target);
    memcpy(target.mrenclave, self->mrenclave, sizeof target.mrenclave);
    target.attributes = self->attributes;
    target.cet_attributes = self->cet_attributes;
    target.config_svn = self->config_svn;
    target.miscselect = self->miscselect;
    memcpy(target.config_id, self->config_id, sizeof target.config_id);
    memcpy(to, &target, TARGET_BYTES);
    return TARGET_BYTES;
}

/* One key for the whole run, and the certificate that was made for it first. */
static struct {
    uint32_t busy;
    bool keyed;
    uint8_t secret[32], point[64];
    char *certificate;
    size_t length;
} tls;

/* `work` has LIBOS_ATTEST_ROOM bytes. */
static int64_t make_certificate(uint8_t *work) {
    uint8_t data[64], *der = malloc(DER_ROOM);
    char *pem = malloc(PEM_ROOM);
    size_t from = 0, length = 0;
    libos_key_claim(tls.point, data);
    int64_t result = der == NULL || pem == NULL ? -ENOMEM : libos_quote(data, work);
    if (result > 0) {
        length = libos_certificate(der, DER_ROOM, &from, tls.secret, tls.point, work, (size_t)result);
        if (length > 0) length = libos_pem(pem, PEM_ROOM, "CERTIFICATE", der + from, length);
        result = length > 0 ? 0 : -EIO;
    }
    if (result == 0) {
        tls.certificate = pem;
        tls.length = length;
    } else
        free(pem);
    free(der);
    return result;
}

static int64_t attested_tls(uint64_t want, uint8_t *to) {
    int64_t result = 0;
    while (__atomic_exchange_n(&tls.busy, 1, __ATOMIC_ACQUIRE) != 0) libos_host_yield();
    if (!tls.keyed) nsgx_p256_generate(tls.secret, tls.point);
    tls.keyed = true;
    if (want == WANT_PRIVATE_KEY) {
        uint8_t der[138];
        libos_private_key(der, tls.secret, tls.point);
        result = (int64_t)libos_pem((char *)to, LIBOS_ATTEST_ROOM, "PRIVATE KEY", der, sizeof der);
        nsgx_wipe(der, sizeof der);
    } else {
        if (tls.certificate == NULL) result = make_certificate(to);
        if (result == 0) {
            memcpy(to, tls.certificate, tls.length);
            result = (int64_t)tls.length;
        }
    }
    __atomic_store_n(&tls.busy, 0, __ATOMIC_RELEASE);
    return result;
}

int64_t libos_attest(const uint64_t a[6], uint8_t *memory, uint64_t size) {
    if (a[1] > size || size - a[1] < LIBOS_ATTEST_ROOM) libos_die("the core asked for attestation with an area that is not there", a[1]);
    uint8_t *area = memory + a[1], data[64];
    memcpy(data, area, sizeof data);
    /* A program that lets others choose its report data must not ask for its store's key on their behalf. */
    if ((a[0] == WANT_REPORT || a[0] == WANT_QUOTE) && libos_asks_for_key(data)) return -EACCES;
    switch (a[0]) {
        case WANT_REPORT:
            return report(data, area + sizeof data, area);
        case WANT_QUOTE:
            return libos_quote(data, area);
        case WANT_MRENCLAVE_KEY:
            return sealing_key(NSGX_POLICY_MRENCLAVE, area);
        case WANT_MRSIGNER_KEY:
            return sealing_key(NSGX_POLICY_MRSIGNER, area);
        case WANT_TARGET:
            return own_target(area);
        case WANT_CERTIFICATE:
        case WANT_PRIVATE_KEY:
            return attested_tls(a[0], area);
        default:
            libos_die("the core asked for attestation of another kind", a[0]);
    }
}
