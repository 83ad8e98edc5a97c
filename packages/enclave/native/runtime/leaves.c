/* EREPORT and EGETKEY with the alignment that the leaves demand. */
#include "runtime.h"

_Static_assert(sizeof(nsgx_targetinfo) == 512, "TARGETINFO");
_Static_assert(sizeof(nsgx_keyrequest) == 512, "KEYREQUEST");
_Static_assert(offsetof(nsgx_targetinfo, config_id) == 64, "TARGETINFO");
_Static_assert(offsetof(nsgx_report, attributes) == 48, "REPORT");
_Static_assert(offsetof(nsgx_report, isv_prod_id) == 256, "REPORT");
_Static_assert(offsetof(nsgx_report, report_data) == 320, "REPORT");
_Static_assert(offsetof(nsgx_report, mac) == 416, "REPORT");
_Static_assert(offsetof(nsgx_keyrequest, key_id) == 40, "KEYREQUEST");
_Static_assert(offsetof(nsgx_keyrequest, config_svn) == 76, "KEYREQUEST");

void nsgx_ereport(const nsgx_targetinfo *target, const uint8_t data[64], nsgx_report *report) {
    nsgx_targetinfo own_target;
    struct {
        uint8_t data[64];
        uint8_t padding[64];
    } __attribute__((aligned(128))) own_data;
    nsgx_report own_report;
    memset(&own_report, 0, sizeof own_report);
    memset(&own_data, 0, sizeof own_data);
    memcpy(&own_target, target, sizeof own_target);
    memcpy(own_data.data, data, 64);
    nsgx_leaf_ereport(&own_target, own_data.data, &own_report);
    memcpy(report, &own_report, NSGX_REPORT_SIZE);
}

uint64_t nsgx_egetkey(const nsgx_keyrequest *request, uint8_t key[16]) {
    nsgx_keyrequest own_request;
    uint8_t own_key[16] __attribute__((aligned(16))) = {0};
    memcpy(&own_request, request, sizeof own_request);
    uint64_t code = nsgx_leaf_egetkey(&own_request, own_key);
    if (code == 0)
        memcpy(key, own_key, 16);
    else
        memset(key, 0, 16);
    nsgx_wipe(own_key, sizeof own_key);
    return code;
}

const nsgx_report *nsgx_self(void) {
    static nsgx_report self;
    static volatile uint32_t made;
    static nsgx_lock lock;
    if (!__atomic_load_n(&made, __ATOMIC_ACQUIRE)) {
        nsgx_lock_acquire(&lock);
        if (!made) {
            nsgx_targetinfo target;
            uint8_t data[64] = {0};
            memset(&target, 0, sizeof target);
            nsgx_ereport(&target, data, &self);
            __atomic_store_n(&made, 1, __ATOMIC_RELEASE);
        }
        nsgx_lock_release(&lock);
    }
    return &self;
}

bool nsgx_report_valid(const nsgx_report *report) {
    nsgx_keyrequest request;
    uint8_t key[16], mac[16];
    memset(&request, 0, sizeof request);
    request.key_name = NSGX_KEY_REPORT;
    memcpy(request.key_id, report->key_id, sizeof request.key_id);
    if (nsgx_egetkey(&request, key) != 0) return false;
    nsgx_aes128_cmac(key, report, offsetof(nsgx_report, key_id) / 16, mac);
    bool good = nsgx_equal(mac, report->mac, sizeof mac);
    nsgx_wipe(key, sizeof key);
    nsgx_wipe(mac, sizeof mac);
    return good;
}
