/* Inside of the protocol of Intel's SDK; not for enclave authors. */
#ifndef NSGX_RUNTIME_EDL_H
#define NSGX_RUNTIME_EDL_H

#include "nsgx_edl.h"
#include "runtime.h"

/* An OCALL under way; on the stack of its thread. */
struct ocall_frame {
    struct ocall_frame *outer;
    uint32_t index;
};

/* What the host says at initialisation (system_features_t of Intel's rts.h), as far as it is looked at. */
struct system_features {
    uint64_t cpu_features;
    uint32_t version;
    uint32_t padding;
    uint64_t feature_set; /* bit 63: the last of its kind */
};

#endif
