/** Every status of Intel's SDK (names and numbers: sgx_error.h), what it means here and what to do about it. */

/** Number, meaning, and what to do; both are sentences without capital and full stop. */
type Row = readonly [number: number, meaning: string, advice: string];

const REBUILD = 'rebuild and sign the enclave, then load the new file';
const RELOAD = 'load the enclave again; what it sealed can be unsealed there';
const NO_AESM = 'this machine has no architectural enclaves of Intel: use its own attestation (nsgx attest)';
const NO_COUNTER = "monotonic counters were a service of Intel's platform software: keep the count elsewhere";
const RECOVER = 'close the file and open it again, which recovers what the last complete flush wrote';
const PCL = 'load the file that the encryption tool wrote, with the sealed key that belongs to it';

const TABLE = {
  SGX_SUCCESS: [0x0000, 'the call succeeded', 'nothing is to be done'],
  SGX_ERROR_UNEXPECTED: [
    0x0001,
    'something failed for which the SDK has no status of its own',
    'look at the cause; with --verbose it names what was refused',
  ],
  SGX_ERROR_INVALID_PARAMETER: [
    0x0002,
    'an argument is wrong: a pointer that must lie outside the enclave, a length, a combination of options',
    "compare the call with the enclave's EDL file, and pointers and lengths with what it declares",
  ],
  SGX_ERROR_OUT_OF_MEMORY: [
    0x0003,
    'memory ran out: the heap of the enclave, or untrusted memory for arguments',
    'raise HeapMaxSize in the configuration of the enclave, or pass smaller arguments',
  ],
  SGX_ERROR_ENCLAVE_LOST: [0x0004, 'the enclave is gone with all that it held in memory', RELOAD],
  SGX_ERROR_INVALID_STATE: [
    0x0005,
    'the call does not fit the state of the enclave or of the service',
    'keep the order of calls: initialise first, use next, close last',
  ],
  SGX_ERROR_FEATURE_NOT_SUPPORTED: [
    0x0008,
    'this platform lacks a feature that was asked for',
    'leave the feature out of the configuration, or run `nsgx doctor` to see what the platform offers',
  ],
  SGX_PTHREAD_EXIT: [
    0x0009,
    'the thread left the enclave with pthread_exit',
    'nothing is to be done if that was wanted; a root ECALL should return instead',
  ],
  SGX_ERROR_MEMORY_MAP_FAILURE: [
    0x000a,
    'no address range could be reserved for the enclave',
    'close enclaves that are no longer needed, or sign this one with smaller stacks, heap or ELRANGE',
  ],
  SGX_ERROR_INVALID_FUNCTION: [
    0x1001,
    'the number of an ECALL or OCALL does not exist, or the function has no handler',
    'use the EDL file with which the enclave was built, and offer a handler for each of its OCALLs',
  ],
  SGX_ERROR_OUT_OF_TCS: [
    0x1003,
    'all threads (TCS) of the enclave are in use',
    'wait for calls under way, or raise TCSNum (or TCSMaxNum) in the configuration of the enclave',
  ],
  SGX_ERROR_ENCLAVE_CRASHED: [
    0x1006,
    'the enclave aborted, or raised an exception that it did not handle',
    'load it again, and look for the defect with a debug build',
  ],
  SGX_ERROR_ECALL_NOT_ALLOWED: [
    0x1007,
    'this ECALL is not allowed now: private, not allowed by the OCALL around it, or during initialisation',
    'name the ECALL in the allow list of that OCALL, or declare it public',
  ],
  SGX_ERROR_OCALL_NOT_ALLOWED: [
    0x1008,
    'the enclave made an OCALL where none is possible, as in an exception handler or before initialisation',
    'move the OCALL out of exception handlers and of constructors of global objects',
  ],
  SGX_ERROR_STACK_OVERRUN: [
    0x1009,
    'the stack of the enclave is used up',
    'raise StackMaxSize in the configuration of the enclave, or use the heap for large variables',
  ],
  SGX_ERROR_UNDEFINED_SYMBOL: [
    0x2000,
    'the enclave file needs a symbol that nothing defines',
    'link the enclave with -Wl,--no-undefined and add the library that is missing',
  ],
  SGX_ERROR_INVALID_ENCLAVE: [0x2001, 'the file is not an enclave, or a damaged one', REBUILD],
  SGX_ERROR_INVALID_ENCLAVE_ID: [
    0x2002,
    'there is no enclave of this identifier, or it has been destroyed',
    'use the object that loading gave, and not after closing it',
  ],
  SGX_ERROR_INVALID_SIGNATURE: [
    0x2003,
    'the signature is wrong, or belongs to other contents than those of the file',
    'sign the enclave again; nothing may change the file afterwards, not even strip',
  ],
  SGX_ERROR_NDEBUG_ENCLAVE: [
    0x2004,
    'the enclave is signed for production and cannot be loaded for debugging',
    'load it without debug, or sign it with DisableDebug set to 0',
  ],
  SGX_ERROR_OUT_OF_EPC: [
    0x2005,
    'the enclave page cache has no room for the enclave',
    'close other enclaves, or start the confidential VM with a larger EPC (--epc)',
  ],
  SGX_ERROR_NO_DEVICE: [
    0x2006,
    'there is nothing that could run enclaves',
    'run `nsgx doctor`: it names what this machine lacks',
  ],
  SGX_ERROR_MEMORY_MAP_CONFLICT: [
    0x2007,
    'a page of the enclave could not be mapped (no longer used by the SDK)',
    'load the enclave again',
  ],
  SGX_ERROR_INVALID_METADATA: [
    0x2009,
    'the metadata that signing adds are missing, damaged or of a version that cannot be used',
    'sign the enclave with a tool of the version of its SDK; the unsigned .so cannot be loaded',
  ],
  SGX_ERROR_DEVICE_BUSY: [0x200c, 'EINIT was interrupted too often, or the device is busy', 'try again'],
  SGX_ERROR_INVALID_VERSION: [
    0x200d,
    'the versions of metadata, runtime and platform do not go together',
    'sign the enclave with the tool of the SDK that it was built with',
  ],
  SGX_ERROR_MODE_INCOMPATIBLE: [
    0x200e,
    'the enclave is of another mode: 32 bits, or built for simulation',
    'build it for 64 bits with SGX_MODE=HW',
  ],
  SGX_ERROR_ENCLAVE_FILE_ACCESS: [
    0x200f,
    'the enclave file cannot be opened',
    'check its path and the rights of this account',
  ],
  SGX_ERROR_INVALID_MISC: [
    0x2010,
    'the enclave demands MISCSELECT bits that the platform does not have',
    'sign it with MiscSelect or MiscMask without these bits',
  ],
  SGX_ERROR_INVALID_LAUNCH_TOKEN: [
    0x2011,
    'the launch policy does not accept the enclave, which has no launch token',
    'start the confidential VM with --launch-signer, or sign with a key that it accepts',
  ],
  SGX_ERROR_MAC_MISMATCH: [
    0x3001,
    'a MAC does not match: a report for another enclave, or data that were changed or sealed by another identity',
    'unseal with the identity (MRENCLAVE or MRSIGNER), machine and version that sealed; check the report target',
  ],
  SGX_ERROR_INVALID_ATTRIBUTE: [
    0x3002,
    'attributes of the enclave do not agree with its signature, or it may not have them or the key it asks for',
    'sign it with attribute masks that fit, or give the right (load with provision for the provisioning key)',
  ],
  SGX_ERROR_INVALID_CPUSVN: [
    0x3003,
    'a CPU security version beyond that of this machine was asked for',
    'unseal on a machine whose version is not older than that which sealed',
  ],
  SGX_ERROR_INVALID_ISVSVN: [
    0x3004,
    'a security version (ISVSVN) beyond that of the enclave was asked for',
    'unseal with an enclave whose ISVSVN is not lower than that which sealed',
  ],
  SGX_ERROR_INVALID_KEYNAME: [0x3005, 'EGETKEY has no key of this name', 'ask for a key that exists'],
  SGX_ERROR_UNSUPPORTED_FUNCTION: [
    0x3006,
    'the function is not supported',
    'leave it out, or link the library that provides it',
  ],
  SGX_ERROR_SERVICE_UNAVAILABLE: [0x4001, "a service of Intel's platform software is not there", NO_AESM],
  SGX_ERROR_SERVICE_TIMEOUT: [0x4002, 'a service did not answer in time', NO_AESM],
  SGX_ERROR_AE_INVALID_EPIDBLOB: [0x4003, 'the EPID blob is invalid', NO_AESM],
  SGX_ERROR_SERVICE_INVALID_PRIVILEGE: [
    0x4004,
    'the enclave or its host may not do this, for instance use the provisioning key',
    'load it with provision, as an account that may, or sign it without ProvisionKey',
  ],
  SGX_ERROR_EPID_MEMBER_REVOKED: [0x4005, 'the EPID membership of the platform is revoked', NO_AESM],
  SGX_ERROR_UPDATE_NEEDED: [
    0x4006,
    'the platform must be updated first',
    'update this installation; its security version is below what was asked for',
  ],
  SGX_ERROR_NETWORK_FAILURE: [0x4007, 'the network failed', 'check network and proxy, then try again'],
  SGX_ERROR_AE_SESSION_INVALID: [0x4008, 'the session with an architectural enclave has ended', NO_AESM],
  SGX_ERROR_BUSY: [0x400a, 'the service is busy', 'try again later'],
  SGX_ERROR_MC_NOT_FOUND: [0x400c, 'the monotonic counter does not exist', NO_COUNTER],
  SGX_ERROR_MC_NO_ACCESS_RIGHT: [0x400d, 'the monotonic counter belongs to another enclave', NO_COUNTER],
  SGX_ERROR_MC_USED_UP: [0x400e, 'all monotonic counters are used', NO_COUNTER],
  SGX_ERROR_MC_OVER_QUOTA: [0x400f, 'the enclave has as many monotonic counters as it may', NO_COUNTER],
  SGX_ERROR_KDF_MISMATCH: [
    0x4011,
    'the two sides of a key exchange use different key derivation functions',
    'build both with the same key derivation identifier',
  ],
  SGX_ERROR_UNRECOGNIZED_PLATFORM: [0x4012, 'the provisioning service does not know the platform', NO_AESM],
  SGX_ERROR_UNSUPPORTED_CONFIG: [0x4013, 'the configuration of provisioning is invalid', NO_AESM],
  SGX_ERROR_NO_PRIVILEGE: [0x5002, 'this account may not do that', 'run it as an account that may'],
  SGX_ERROR_PCL_ENCRYPTED: [0x6001, 'the enclave file is encrypted', PCL],
  SGX_ERROR_PCL_NOT_ENCRYPTED: [0x6002, 'the enclave file is not encrypted', 'load it without a sealed key'],
  SGX_ERROR_PCL_MAC_MISMATCH: [0x6003, 'an encrypted section of the enclave file was changed', PCL],
  SGX_ERROR_PCL_SHA_MISMATCH: [0x6004, 'the unsealed key is not that of the enclave file', PCL],
  SGX_ERROR_PCL_GUID_MISMATCH: [0x6005, 'the sealed key belongs to another enclave file', PCL],
  SGX_ERROR_FILE_BAD_STATUS: [
    0x7001,
    'the protected file is in a state of error after an earlier failure',
    'call sgx_clearerr, or close the file and open it again',
  ],
  SGX_ERROR_FILE_NO_KEY_ID: [
    0x7002,
    'the protected file does not say which key it needs',
    'restore the file',
  ],
  SGX_ERROR_FILE_NAME_MISMATCH: [
    0x7003,
    'the protected file was written under another name',
    'give it its name back: the name is part of what is protected',
  ],
  SGX_ERROR_FILE_NOT_SGX_FILE: [
    0x7004,
    'the file is not a protected file, or was cut',
    'open a file that sgx_fopen wrote, and whole',
  ],
  SGX_ERROR_FILE_CANT_OPEN_RECOVERY_FILE: [
    0x7005,
    'the recovery file beside the protected file cannot be opened',
    'let this account write to the folder of the file',
  ],
  SGX_ERROR_FILE_CANT_WRITE_RECOVERY_FILE: [
    0x7006,
    'the recovery file beside the protected file cannot be written',
    'free space, and let this account write to the folder of the file',
  ],
  SGX_ERROR_FILE_RECOVERY_NEEDED: [
    0x7007,
    'a write was interrupted, and what it replaced could not be restored',
    'put the file whose name ends in _recovery back beside it, or restore both',
  ],
  SGX_ERROR_FILE_FLUSH_FAILED: [0x7008, 'the protected file could not be flushed', RECOVER],
  SGX_ERROR_FILE_CLOSE_FAILED: [0x7009, 'the protected file could not be closed', RECOVER],
  SGX_ERROR_UNSUPPORTED_ATT_KEY_ID: [0x8001, 'quoting does not support this attestation key', NO_AESM],
  SGX_ERROR_ATT_KEY_CERTIFICATION_FAILURE: [0x8002, 'the attestation key could not be certified', NO_AESM],
  SGX_ERROR_ATT_KEY_UNINITIALIZED: [0x8003, 'there is no attestation key yet', NO_AESM],
  SGX_ERROR_INVALID_ATT_KEY_CERT_DATA: [
    0x8004,
    'the certificates of the attestation key are invalid',
    NO_AESM,
  ],
  SGX_ERROR_PLATFORM_CERT_UNAVAILABLE: [0x8005, 'the platform has no provisioning certificate', NO_AESM],
  SGX_ERROR_TLS_X509_INVALID_EXTENSION: [
    0x9001,
    'a certificate of attested TLS has no valid quote in its extension',
    'compare the versions of both sides, and make the certificate again',
  ],
  SGX_INTERNAL_ERROR_ENCLAVE_CREATE_INTERRUPTED: [
    0xf001,
    'creating the enclave was interrupted',
    'try again',
  ],
} as const satisfies Record<string, Row>;

/** Names of statuses. */
export type SgxStatusName = keyof typeof TABLE;

/** Every status by name: its number, what it means and what to do. */
export const SGX_STATUS_TABLE: Readonly<Record<SgxStatusName, Row>> = Object.freeze(TABLE);
