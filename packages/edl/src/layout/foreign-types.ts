/** Types that C headers define: those of the system and of Intel's SDK that interfaces use, and how to give others. */
import type { CType } from './ctype.js';

/**
 * A type of a C header: the name of a basic or other known type, a pointer (to `null` when what it points to does not
 * matter), an array, a structure by its members in order, or bytes of a size and alignment.
 */
export type ForeignType =
  | string
  | { readonly pointer: ForeignType | null }
  | { readonly array: ForeignType; readonly count: number }
  | { readonly struct: Readonly<Record<string, ForeignType>> }
  | { readonly size: number; readonly align: number };

const integer = (size: 1 | 2 | 4 | 8, signed: boolean): CType => ({ kind: 'integer', size, signed });
const bytes = (name: string, size: number, align: number): CType => ({ kind: 'bytes', name, size, align });
const float = (size: 4 | 8 | 16): CType => ({ kind: 'float', size });

/** The basic types of the language. */
export const BASIC_TYPES: Readonly<Record<string, CType>> = Object.freeze({
  char: integer(1, true),
  'unsigned char': integer(1, false),
  'short int': integer(2, true),
  'unsigned short int': integer(2, false),
  int: integer(4, true),
  'unsigned int': integer(4, false),
  'long int': integer(8, true),
  'unsigned long int': integer(8, false),
  'long long': integer(8, true),
  'unsigned long long': integer(8, false),
  float: float(4),
  double: float(8),
  'long double': float(16),
  int8_t: integer(1, true),
  int16_t: integer(2, true),
  int32_t: integer(4, true),
  int64_t: integer(8, true),
  uint8_t: integer(1, false),
  uint16_t: integer(2, false),
  uint32_t: integer(4, false),
  uint64_t: integer(8, false),
  size_t: integer(8, false),
  wchar_t: integer(4, true),
});

const SIZES: Record<string, [size: number, align: number]> = {
  sgx_report_t: [432, 8],
  sgx_report_body_t: [384, 8],
  sgx_report_data_t: [64, 1],
  sgx_target_info_t: [512, 8],
  sgx_attributes_t: [16, 8],
  sgx_measurement_t: [32, 1],
  sgx_cpu_svn_t: [16, 1],
  sgx_key_request_t: [512, 8],
  sgx_key_id_t: [32, 1],
  sgx_key_128bit_t: [16, 1],
  sgx_mac_t: [16, 1],
  sgx_ec256_public_t: [64, 1],
  sgx_ec256_private_t: [32, 1],
  sgx_ec256_signature_t: [64, 4],
  sgx_sha256_hash_t: [32, 1],
  sgx_aes_gcm_128bit_tag_t: [16, 1],
  sgx_aes_gcm_128bit_key_t: [16, 1],
  sgx_ra_key_128_t: [16, 1],
  sgx_ra_msg1_t: [68, 1],
  sgx_ra_msg2_t: [168, 4],
  sgx_spid_t: [16, 1],
  sgx_epid_group_id_t: [4, 1],
  sgx_quote_nonce_t: [16, 1],
  sgx_basename_t: [32, 1],
  sgx_sealed_data_t: [560, 8],
  sgx_dh_msg1_t: [576, 1],
  sgx_dh_msg2_t: [512, 1],
  sgx_dh_msg3_t: [452, 1],
  sgx_dh_session_enclave_identity_t: [260, 1],
  sgx_ql_qe_report_info_t: [960, 1],
  qae_verification_input_t: [72, 8],
};

/** Types of common headers (glibc, x86-64) and of Intel's SDK. */
export const KNOWN_TYPES: Readonly<Record<string, CType>> = Object.freeze({
  bool: { kind: 'boolean' },
  _Bool: { kind: 'boolean' },
  intptr_t: integer(8, true),
  uintptr_t: integer(8, false),
  intmax_t: integer(8, true),
  uintmax_t: integer(8, false),
  ssize_t: integer(8, true),
  ptrdiff_t: integer(8, true),
  off_t: integer(8, true),
  time_t: integer(8, true),
  clock_t: integer(8, true),
  pid_t: integer(4, true),
  uid_t: integer(4, false),
  gid_t: integer(4, false),
  mode_t: integer(4, false),
  wint_t: integer(4, false),
  socklen_t: integer(4, false),
  sgx_status_t: integer(4, false),
  sgx_enclave_id_t: integer(8, false),
  sgx_isv_svn_t: integer(2, false),
  sgx_prod_id_t: integer(2, false),
  sgx_misc_select_t: integer(4, false),
  sgx_ra_context_t: integer(4, false),
  sgx_quote_sign_type_t: integer(4, false),
  quote3_error_t: integer(4, false),
  sgx_ql_qv_result_t: integer(4, false),
  ...Object.fromEntries(
    Object.entries(SIZES).map(([name, [size, align]]) => [name, bytes(name, size, align)]),
  ),
});
