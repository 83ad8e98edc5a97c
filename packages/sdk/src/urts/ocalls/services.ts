/** Services outside of enclaves that libraries of the SDK ask for: quotes for attested TLS, platform services, the time. */
import { SGX_STATUS } from '../sgx-status.js';
import type { BuiltinOcalls } from './builtin-host.js';

/** quote3_error_t: the quoting service cannot be used. Source: sgx_ql_lib_common.h. */
const SGX_QL_SERVICE_UNAVAILABLE = 0xe040;

const noQuoting = () => SGX_QL_SERVICE_UNAVAILABLE;
const noPlatformService = () => SGX_STATUS.SGX_ERROR_SERVICE_UNAVAILABLE;

/** sizeof(struct timeb) and the offset of its milliseconds; time zone and daylight saving behind them stay 0. */
const TIMEB_BYTES = 16;
const TIMEB_MILLISECONDS = 8;

/**
 * sgx_ttls.edl wants quotes that Intel's verifiers accept, and sgx_tae_service.edl what Intel's platform enclaves did: this
 * machine has neither, and says so. Its own quotes come with `e.quote`. The time of SgxSSL is this host's.
 */
export const serviceOcalls: BuiltinOcalls = {
  sgx_tls_get_qe_target_info_ocall: noQuoting,
  sgx_tls_get_quote_size_ocall: noQuoting,
  sgx_tls_get_quote_ocall: noQuoting,
  sgx_tls_get_supplemental_data_size_ocall: noQuoting,
  sgx_tls_verify_quote_ocall: noQuoting,
  create_session_ocall: noPlatformService,
  exchange_report_ocall: noPlatformService,
  close_session_ocall: noPlatformService,
  invoke_service_ocall: noPlatformService,
  u_sgxssl_ftime: (timeb: Uint8Array | null) => {
    if (timeb === null || timeb.length < TIMEB_BYTES) return;
    const view = new DataView(timeb.buffer, timeb.byteOffset, timeb.length);
    const now = Date.now();
    view.setBigInt64(0, BigInt(Math.floor(now / 1000)), true);
    view.setUint16(TIMEB_MILLISECONDS, now % 1000, true);
  },
};
