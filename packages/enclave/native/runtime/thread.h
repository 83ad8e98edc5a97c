/* Thread data: one page per TCS, at the base of FS and GS inside the enclave. The tool chain fills it at build time
 * (every address as an offset from the enclave's base), so it is measured. Shared by C and assembly. */
#ifndef NSGX_THREAD_H
#define NSGX_THREAD_H

#define TD_SELF 0          /* own address; written at entry (the TLS ABI reads it at %fs:0) */
#define TD_NEXT_STACK 8    /* where the stack of the next entry at CSSA 0 starts */
#define TD_STACK_TOP 16
#define TD_STACK_LOW 24
#define TD_EXCEPTION_STACK 32 /* top of the stack used at CSSA 1 */
#define TD_CANARY 40       /* stack protector: gcc reads %fs:0x28 */
#define TD_SSA 48
#define TD_EXIT_TARGET 56  /* RCX, RSP and RBP of the latest EENTER at CSSA 0 */
#define TD_OUTSIDE_RSP 64
#define TD_OUTSIDE_RBP 72
#define TD_X_EXIT_TARGET 80 /* the same at CSSA 1 */
#define TD_X_OUTSIDE_RSP 88
#define TD_X_OUTSIDE_RBP 96
#define TD_OCALLS 104      /* OCALLs under way */
#define TD_INDEX 108
#define TD_EXCEPTIONS 112  /* exceptions being handled */
#define TD_DEPTH 116       /* ECALLs under way */
#define TD_CALL 120
#define TD_KEPT 128
#define TD_KEPT_LENGTH 136
#define TD_OCALL 144       /* with an interface in EDL: the OCALL under way, RSP of the ECALL's caller */
#define TD_ECALL_RSP 152
#define TD_SIZE 160

/* The thread data of an image in Intel's format are zero until the thread's first entry, and lie before its TCS. */
#define TCS_FROM_TD 4096

/* Life of the enclave */
#define STATE_FRESH 0
#define STATE_STARTING 1
#define STATE_READY 2
#define STATE_CRASHED 3
#define STATE_ENDED 4

/* Entry commands (RDI of EENTER) */
#define COMMAND_INIT (-1)
#define COMMAND_ORET (-2)
#define COMMAND_EXCEPT (-3)
#define COMMAND_UNINIT (-5)
#define COMMAND_FETCH (-100)
#define COMMAND_REPORT (-110)
#define COMMAND_ADD_THREAD (-120)
#define COMMAND_ACCEPT_THREAD (-121)
#define COMMAND_TRIM_HEAP (-122)
#define COMMAND_ACCEPT_TRIM (-123)

/* What the host said at initialisation that this CPU lacks */
#define MISSING_XGETBV1 1
#define MISSING_AESNI 2
#define MISSING_PCLMUL 4

#define SSA_FRAME_SIZE 4096
#define GPRSGX_OFFSET (SSA_FRAME_SIZE - 184)
#define EXINFO_OFFSET (GPRSGX_OFFSET - 16)

#endif
