/**
 * The interface files that come with Intel's SDK and that enclaves import, as facts: names, types and order of functions,
 * which decide the numbers of calls. They are those of SDK 2.26 and, for files that it no longer has, of the last that did.
 */

const TSTDC = `enclave {
  untrusted {
    [cdecl] void sgx_oc_cpuidex([out] int cpuinfo[4], int leaf, int subleaf);
    [cdecl] int sgx_thread_wait_untrusted_event_ocall([user_check] const void *self);
    [cdecl] int sgx_thread_set_untrusted_event_ocall([user_check] const void *waiter);
    [cdecl] int sgx_thread_setwait_untrusted_events_ocall([user_check] const void *waiter, [user_check] const void *self);
    [cdecl] int sgx_thread_set_multiple_untrusted_events_ocall([in, count=total] const void **waiters, size_t total);
  };
};`;

const PTHREAD = `enclave {
  untrusted {
    [cdecl] int pthread_wait_timeout_ocall(unsigned long long waiter, unsigned long long timeout);
    [cdecl] int pthread_create_ocall(unsigned long long self);
    [cdecl] int pthread_wakeup_ocall(unsigned long long waiter);
  };
};`;

const TPROTECTED_FS = `enclave {
  from "sgx_tstdc.edl" import *;
  from "sgx_pthread.edl" import *;
  untrusted {
    int8_t u_sgxprotectedfs_check_if_file_exists([in, string] const char *filename);
    uint8_t *u_sgxprotectedfs_exclusive_file_map([in, string] const char *filename, uint8_t read_only,
      [out] int64_t *file_size, [out] int32_t *error_code);
    int32_t u_sgxprotectedfs_file_remap([in, string] const char *filename, [in, out] uint8_t **file_addr,
      int64_t old_size, int64_t new_size);
    int32_t u_sgxprotectedfs_file_unmap([user_check] uint8_t *file_addr, int64_t file_size);
    int32_t u_sgxprotectedfs_remove([in, string] const char *filename);
    uint8_t u_sgxprotectedfs_fwrite_recovery_file([user_check] uint8_t *fileaddress, [in, string] const char *filename,
      [in, count=length] uint64_t *recovery_list, uint64_t length);
    int32_t u_sgxprotectedfs_do_file_recovery([in, string] const char *filename,
      [in, string] const char *recovery_filename);
  };
};`;

const TSWITCHLESS = `enclave {
  trusted {
    public sgx_status_t sl_init_switchless([user_check] void *sl_data);
    public sgx_status_t sl_run_switchless_tworker();
  };
};`;

const TKEY_EXCHANGE = `enclave {
  trusted {
    public sgx_status_t sgx_ra_get_ga(sgx_ra_context_t context, [out] sgx_ec256_public_t *g_a);
    public sgx_status_t sgx_ra_proc_msg2_trusted(sgx_ra_context_t context, [in] const sgx_ra_msg2_t *p_msg2,
      [in] const sgx_target_info_t *p_qe_target, [out] sgx_report_t *p_report, [out] sgx_quote_nonce_t *p_nonce);
    public sgx_status_t sgx_ra_get_msg3_trusted(sgx_ra_context_t context, uint32_t quote_size,
      [in] sgx_report_t *qe_report, [user_check] sgx_ra_msg3_t *p_msg3, uint32_t msg3_size);
  };
};`;

const TTLS = `enclave {
  include "sgx_report.h"
  include "sgx_qve_header.h"
  include "sgx_ql_lib_common.h"
  include "sgx_ql_quote.h"
  untrusted {
    quote3_error_t sgx_tls_get_qe_target_info_ocall([size=target_info_size, out] sgx_target_info_t *p_target_info,
      size_t target_info_size);
    quote3_error_t sgx_tls_get_quote_size_ocall([out] uint32_t *p_quote_size);
    quote3_error_t sgx_tls_get_quote_ocall([size=report_size, in] sgx_report_t *p_report, size_t report_size,
      [size=quote_size, out] uint8_t *p_quote, uint32_t quote_size);
    quote3_error_t sgx_tls_get_supplemental_data_size_ocall([out] uint32_t *p_supplemental_data_size);
    quote3_error_t sgx_tls_verify_quote_ocall([size=quote_size, in] const uint8_t *p_quote, uint32_t quote_size,
      time_t expiration_check_date, [out] sgx_ql_qv_result_t *p_quote_verification_result,
      [size=qve_report_info_size, in, out] sgx_ql_qe_report_info_t *p_qve_report_info, size_t qve_report_info_size,
      [size=supplemental_data_size, out] uint8_t *p_supplemental_data, uint32_t supplemental_data_size);
  };
};`;

const DCAP_TVL = `enclave {
  include "sgx_qve_header.h"
  include "sgx_ql_quote.h"
  include "sgx_dcap_qal.h"
  include "sgx_dcap_qae_tvl.h"
  trusted {
    public quote3_error_t sgx_tvl_verify_qve_report_and_identity([in, size=quote_size] const uint8_t *p_quote,
      uint32_t quote_size, [in, count=1] const sgx_ql_qe_report_info_t *p_qve_report_info,
      time_t expiration_check_date, uint32_t collateral_expiration_status,
      sgx_ql_qv_result_t quote_verification_result, [in, size=supplemental_data_size] const uint8_t *p_supplemental_data,
      uint32_t supplemental_data_size, sgx_isv_svn_t qve_isvsvn_threshold);
    public quote3_error_t tee_verify_qae_report_and_identity([in, count=1] qae_verification_input_t *input,
      sgx_ql_qe_report_info_t qae_report_info, sgx_isv_svn_t qae_isvsvn_threshold);
  };
};`;

const TAE_SERVICE = `enclave {
  from "sgx_tstdc.edl" import *;
  untrusted {
    sgx_status_t create_session_ocall([out] uint32_t *sid, [size=dh_msg1_size, out] uint8_t *dh_msg1,
      uint32_t dh_msg1_size, uint32_t timeout);
    sgx_status_t exchange_report_ocall(uint32_t sid, [size=dh_msg2_size, in] uint8_t *dh_msg2, uint32_t dh_msg2_size,
      [size=dh_msg3_size, out] uint8_t *dh_msg3, uint32_t dh_msg3_size, uint32_t timeout);
    sgx_status_t close_session_ocall(uint32_t sid, uint32_t timeout);
    sgx_status_t invoke_service_ocall([size=pse_message_req_size, in] uint8_t *pse_message_req,
      uint32_t pse_message_req_size, [size=pse_message_resp_size, out] uint8_t *pse_message_resp,
      uint32_t pse_message_resp_size, uint32_t timeout);
  };
};`;

/** Text of each file by its name. */
export const STANDARD_EDL: Readonly<Record<string, string>> = Object.freeze({
  'sgx_dcap_tvl.edl': DCAP_TVL,
  'sgx_pthread.edl': PTHREAD,
  'sgx_tae_service.edl': TAE_SERVICE,
  'sgx_tkey_exchange.edl': TKEY_EXCHANGE,
  'sgx_tprotected_fs.edl': TPROTECTED_FS,
  'sgx_tstdc.edl': TSTDC,
  'sgx_tswitchless.edl': TSWITCHLESS,
  'sgx_ttls.edl': TTLS,
});
