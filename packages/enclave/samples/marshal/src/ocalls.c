/* OCALLs: results, buffers, text, errno, nested ECALLs. */
#include <errno.h>

#include "marshal_t.h"

/* What an ECALL returns when its OCALL failed. */
static int failed(sgx_status_t status) { return -0x10000 - (int)status; }

int ecall_ocall(int value) {
    int result = 0;
    sgx_status_t status = ocall_add(&result, value, 1);
    return status == SGX_SUCCESS ? result * 2 : failed(status);
}

/* Gives errno; the answer is what the host wrote. */
int ecall_ocall_text(const char *text, char *answer, size_t n) {
    int length = 0;
    sgx_status_t status = ocall_print(text);
    errno = 0;
    if (status == SGX_SUCCESS) status = ocall_answer(&length, text, answer, n);
    return status != SGX_SUCCESS ? failed(status) : errno != 0 ? -errno : length;
}

int ecall_ocall_buffers(int *values, int *code) {
    int outside[1] = {7};
    sgx_status_t status = ocall_double(values, 4);
    if (status == SGX_SUCCESS) status = ocall_double(outside, 1);
    if (status == SGX_SUCCESS) status = ocall_nothing();
    if (code != NULL) *code = outside[0];
    if (status != SGX_SUCCESS) return failed(status);
    /* Not the enclave's own memory: refused before anything is copied. */
    return ocall_double((int *)64, 1) == SGX_ERROR_INVALID_PARAMETER ? 0 : -1;
}

int ecall_ocall_list(void) {
    uint8_t bytes[3] = {1, 2, 3};
    int values[2] = {10, 20};
    struct list_t list = {1, sizeof bytes, 2, bytes, values};
    int result = 0;
    sgx_status_t status = ocall_list(&result, &list);
    /* The enclave's own addresses, whatever the host did. */
    if (list.data != bytes || list.values != values) return -1;
    if (status != SGX_SUCCESS) return failed(status);
    return result + bytes[0] + bytes[1] + bytes[2] + values[0] + values[1];
}

int ecall_ocall_wide(void) {
    size_t length = 0;
    sgx_status_t status = ocall_wide(&length, L"Gr\u00fc\u00dfe \U0001F600");
    return status == SGX_SUCCESS ? (int)length : failed(status);
}

/* The host calls ecall_private during the OCALL. */
int ecall_nested(int value) {
    int result = 0, local[16];
    for (int i = 0; i < 16; i++) local[i] = value + i;
    sgx_status_t status = ocall_nested(&result, value);
    if (status != SGX_SUCCESS) return failed(status);
    for (int i = 0; i < 16; i++)
        if (local[i] != value + i) return -1;
    return result + 1;
}

int ecall_private(int value) { return value <= 0 ? 0 : value + ecall_nested(value - 1); }

int ecall_public_denied(void) { return 1; }

sgx_status_t ecall_ocall_status(void) {
    int result;
    return ocall_nested(&result, 0);
}

void ecall_cpuid(int leaf, int subleaf, int info[4]) {
    if (info != NULL && sgx_oc_cpuidex(info, leaf, subleaf) != SGX_SUCCESS) memset(info, 0xff, 16);
}

int ecall_switchless(int value) {
    int result = 0;
    sgx_status_t status = ocall_switchless(&result, value);
    return status == SGX_SUCCESS ? result : failed(status);
}

/* OCALLs one after the other, to be timed. */
sgx_status_t ecall_ocalls(uint64_t n) {
    sgx_status_t status = SGX_SUCCESS;
    for (; n > 0 && status == SGX_SUCCESS; n--) status = ocall_nothing();
    return status;
}
