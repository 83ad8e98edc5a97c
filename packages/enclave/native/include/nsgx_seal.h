/* Sealing: data that only this enclave (MRENCLAVE), or only enclaves of the same signer and product with the same or a
 * higher security version (MRSIGNER), can read on this machine.
 *
 * Sealed blob, version 1, little endian: a header of 128 bytes, the encrypted data, a tag of 16 bytes.
 *   0  magic "NSGXSEAL"        8  u32 version = 1      12  u16 key policy (1 MRENCLAVE, 2 MRSIGNER)
 *  14  u16 cipher (1 = AES-128-GCM)    16  u16 ISVSVN   18  u16 CONFIGSVN   20  u32 MISCMASK
 *  24  CPUSVN (16)   40  ATTRIBUTEMASK (16)   56  KEYID (32, random)   88  IV (12, random)
 * 100  u32 length of the additional data   104  u64 length of the data   112  16 zero bytes
 * The key is EGETKEY's SEAL key for those fields: fresh for each blob, because KEYID is random. The tag covers the
 * header, the additional data (not stored: the reader supplies them again) and the data. */
#ifndef NSGX_SEAL_H
#define NSGX_SEAL_H

#include <stddef.h>
#include <stdint.h>

enum nsgx_status;

#define NSGX_SEAL_OVERHEAD 144

/* Seals `length` bytes into `out` (length + NSGX_SEAL_OVERHEAD bytes) for NSGX_POLICY_MRENCLAVE or _MRSIGNER.
 * NSGX_OK, NSGX_INVALID_ARGUMENT or NSGX_KEY_REFUSED. */
enum nsgx_status nsgx_seal(uint16_t policy, const void *aad, size_t aad_length, const void *data, size_t length,
                           void *out);

/* Opens a sealed blob into `out` (blob_length - NSGX_SEAL_OVERHEAD bytes). NSGX_OK, or NSGX_BAD_SEAL for anything that
 * was not sealed for this identity with the same additional data, or NSGX_KEY_REFUSED when the blob asks for a security
 * version above this enclave's own. `out` is wiped on failure. */
enum nsgx_status nsgx_unseal(const void *aad, size_t aad_length, const void *blob, size_t blob_length, void *out,
                             size_t *length);

#endif
