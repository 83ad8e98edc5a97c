/* Sealing; the format is described in nsgx_seal.h. */
#include "runtime.h"

#define CIPHER_AES128_GCM 1
/* What of the attributes the key depends on: INIT and DEBUG (a debug enclave never opens a production enclave's data)
 * and all reserved and future security flags in the top byte. Extended features (XFRM) do not matter. */
#define FLAGS_MASK 0xff00000000000003ull
#define MISC_MASK 0xf0000000u

struct header {
    char magic[8];
    uint32_t version;
    uint16_t policy;
    uint16_t cipher;
    uint16_t isv_svn;
    uint16_t config_svn;
    uint32_t misc_mask;
    uint8_t cpusvn[16];
    nsgx_attributes attribute_mask;
    uint8_t key_id[32];
    uint8_t iv[12];
    uint32_t aad_length;
    uint64_t length;
    uint8_t reserved[16];
};
_Static_assert(sizeof(struct header) == 128, "format");
_Static_assert(offsetof(struct header, key_id) == 56, "format");
_Static_assert(offsetof(struct header, length) == 104, "format");
_Static_assert(sizeof(struct header) + NSGX_GCM_TAG == NSGX_SEAL_OVERHEAD, "format");

static const char MAGIC[8] = {'N', 'S', 'G', 'X', 'S', 'E', 'A', 'L'};

static uint64_t seal_key(const struct header *header, uint8_t key[16]) {
    nsgx_keyrequest request;
    memset(&request, 0, sizeof request);
    request.key_name = NSGX_KEY_SEAL;
    request.key_policy = header->policy;
    request.isv_svn = header->isv_svn;
    request.config_svn = header->config_svn;
    memcpy(request.cpusvn, header->cpusvn, 16);
    request.attribute_mask = header->attribute_mask;
    memcpy(request.key_id, header->key_id, 32);
    request.misc_mask = header->misc_mask;
    return nsgx_egetkey(&request, key);
}

enum nsgx_status nsgx_seal(uint16_t policy, const void *aad, size_t aad_length, const void *data, size_t length,
                           void *out) {
    if ((policy != NSGX_POLICY_MRENCLAVE && policy != NSGX_POLICY_MRSIGNER) || aad_length > UINT32_MAX ||
        length > SIZE_MAX - NSGX_SEAL_OVERHEAD)
        return NSGX_INVALID_ARGUMENT;
    const nsgx_report *self = nsgx_self();
    struct header header;
    uint8_t key[16];
    uint8_t *body = (uint8_t *)out + sizeof header;
    memset(&header, 0, sizeof header);
    memcpy(header.magic, MAGIC, sizeof MAGIC);
    header.version = 1;
    header.policy = policy;
    header.cipher = CIPHER_AES128_GCM;
    header.isv_svn = self->isv_svn;
    header.config_svn = self->config_svn;
    header.misc_mask = MISC_MASK;
    memcpy(header.cpusvn, self->cpusvn, 16);
    header.attribute_mask.flags = FLAGS_MASK;
    nsgx_random(header.key_id, sizeof header.key_id);
    nsgx_random(header.iv, sizeof header.iv);
    header.aad_length = (uint32_t)aad_length;
    header.length = length;
    if (seal_key(&header, key) != 0) return NSGX_KEY_REFUSED;
    memmove(body, data, length);
    memcpy(out, &header, sizeof header);
    nsgx_gcm(true, key, sizeof key, header.iv, &header, sizeof header, aad, aad_length, body, length, body + length);
    nsgx_wipe(key, sizeof key);
    return NSGX_OK;
}

enum nsgx_status nsgx_unseal(const void *aad, size_t aad_length, const void *blob, size_t blob_length, void *out,
                             size_t *length) {
    static const uint8_t zeros[16];
    struct header header;
    uint8_t key[16], tag[NSGX_GCM_TAG];
    *length = 0;
    if (blob_length < NSGX_SEAL_OVERHEAD) return NSGX_BAD_SEAL;
    memcpy(&header, blob, sizeof header);
    uint64_t data_length = blob_length - NSGX_SEAL_OVERHEAD;
    if (memcmp(header.magic, MAGIC, sizeof MAGIC) != 0 || header.version != 1 || header.cipher != CIPHER_AES128_GCM ||
        (header.policy != NSGX_POLICY_MRENCLAVE && header.policy != NSGX_POLICY_MRSIGNER) ||
        header.misc_mask != MISC_MASK || header.attribute_mask.flags != FLAGS_MASK ||
        header.attribute_mask.xfrm != 0 || header.length != data_length || header.aad_length != aad_length ||
        memcmp(header.reserved, zeros, sizeof zeros) != 0)
        return NSGX_BAD_SEAL;
    /* EGETKEY faults on a CONFIGSVN in an enclave without KSS: a changed blob must not end the enclave. */
    if (header.config_svn > nsgx_self()->config_svn) return NSGX_KEY_REFUSED;
    if (seal_key(&header, key) != 0) return NSGX_KEY_REFUSED;
    const uint8_t *body = (const uint8_t *)blob + sizeof header;
    uint8_t given[NSGX_GCM_TAG];
    memcpy(given, body + data_length, sizeof given);
    memmove(out, body, data_length);
    nsgx_gcm(false, key, sizeof key, header.iv, &header, sizeof header, aad, aad_length, out, data_length, tag);
    bool good = nsgx_equal(tag, given, sizeof tag);
    nsgx_wipe(key, sizeof key);
    nsgx_wipe(tag, sizeof tag);
    if (!good) {
        nsgx_wipe(out, data_length);
        return NSGX_BAD_SEAL;
    }
    *length = data_length;
    return NSGX_OK;
}
