/* Results as Intel's SDK numbers them: what enclaves with an interface in EDL return, and what their OCALLs give. */
#ifndef SGX_ERROR_H
#define SGX_ERROR_H

typedef enum sgx_status_t {
    SGX_SUCCESS = 0,
    SGX_ERROR_UNEXPECTED = 1,
    SGX_ERROR_INVALID_PARAMETER = 2,
    SGX_ERROR_OUT_OF_MEMORY = 3,
    SGX_ERROR_ENCLAVE_LOST = 4,
    SGX_ERROR_INVALID_STATE = 5,
    SGX_ERROR_FEATURE_NOT_SUPPORTED = 8,
    SGX_ERROR_INVALID_FUNCTION = 0x1001, /* no such ECALL or OCALL */
    SGX_ERROR_OUT_OF_TCS = 0x1003,
    SGX_ERROR_ENCLAVE_CRASHED = 0x1006,
    SGX_ERROR_ECALL_NOT_ALLOWED = 0x1007, /* a private ECALL, or one that the OCALL under way does not allow */
    SGX_ERROR_OCALL_NOT_ALLOWED = 0x1008, /* an OCALL from an exception handler */
    SGX_ERROR_STACK_OVERRUN = 0x1009,
    SGX_ERROR_INVALID_ENCLAVE_ID = 0x2002,
    SGX_ERROR_MAC_MISMATCH = 0x3001,
    SGX_ERROR_INVALID_ATTRIBUTE = 0x3002,
    SGX_ERROR_INVALID_CPUSVN = 0x3003,
    SGX_ERROR_INVALID_ISVSVN = 0x3004,
    SGX_ERROR_INVALID_KEYNAME = 0x3005,
    SGX_ERROR_UNSUPPORTED_FUNCTION = 0x3006
} sgx_status_t;

#endif
