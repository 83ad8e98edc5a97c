/* Every way into and out of the enclave.
 *
 * EENTER gives RAX = CSSA, RBX = TCS, RCX = return address, RDI = ECALL index or command, RSI = pointer; FS and GS come
 * from the measured TCS. All other registers, the flags and the extended state are the host's and are not used before
 * they are set. Between nsgx_entry and nsgx_entry_end no exception is handled (see exception.c): the registers are
 * partly the host's there. */
#include "thread.h"

#define BAD_COMMAND nsgx_host_codes(%rip)
#define CRASHED nsgx_host_codes+4(%rip)
/* XCR0 components that count as "not clean": all but SSE, whose registers are cleared by hand, and PKRU, which is the
 * system's. */
#define XSTATE_SPECIAL (~0x202)
#define XSTATE_ALL (~0x200)

    .section .nsgx.entry, "ax", @progbits
    .globl nsgx_entry
    .hidden nsgx_entry
    .type nsgx_entry, @function
nsgx_entry:
    cld
    test %rax, %rax
    jnz .Lexception_entry

    mov %rcx, %gs:TD_EXIT_TARGET
    mov %rsp, %gs:TD_OUTSIDE_RSP
    mov %rbp, %gs:TD_OUTSIDE_RBP
    lea __image_base(%rip), %r8
    mov %gs:TD_NEXT_STACK, %rsp
    test %rsp, %rsp
    jz .Lnew_thread
    add %r8, %rsp
.Lon_stack:
    push $0
    popfq

    cmpl $STATE_READY, nsgx_state(%rip)
    jne .Lclean_all
    testl $MISSING_XGETBV1, nsgx_missing(%rip)
    jnz .Lclean_all
    mov $1, %ecx
    xgetbv
    test $XSTATE_SPECIAL, %eax
    jnz .Lclean_all
    test %edx, %edx
    jnz .Lclean_all
    ldmxcsr nsgx_clean_xstate+24(%rip)
    jmp .Lcleaned
.Lclean_all:
    mov $XSTATE_ALL, %eax
    mov $-1, %edx
    xrstor64 nsgx_clean_xstate(%rip)
.Lcleaned:

    cmpl $COMMAND_ORET, %edi
    je .Loret
    cmpq $0, %fs:TD_CANARY
    je .Lfirst
.Lenter:
    and $-16, %rsp
    xor %ebp, %ebp
    movslq %edi, %rdi
    call nsgx_enter
.Lreturn:
    mov %rax, %rsi
    mov $-1, %rdi

/* Leave with RDI and RSI as they are. */
.Lleave:
    testl $MISSING_XGETBV1, nsgx_missing(%rip)
    jnz .Lscrub_all
    mov $1, %ecx
    xgetbv
    test $XSTATE_SPECIAL, %eax
    jnz .Lscrub_all
    test %edx, %edx
    jnz .Lscrub_all
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    pxor %xmm\n, %xmm\n
    .endr
    ldmxcsr nsgx_clean_xstate+24(%rip)
    jmp .Lscrubbed
.Lscrub_all:
    mov $XSTATE_ALL, %eax
    mov $-1, %edx
    xrstor64 nsgx_clean_xstate(%rip)
.Lscrubbed:
    mov %gs:TD_EXIT_TARGET, %rbx
    mov %gs:TD_OUTSIDE_RSP, %rsp
    mov %gs:TD_OUTSIDE_RBP, %rbp
.Leexit:
    xor %edx, %edx
    xor %r8d, %r8d
    xor %r9d, %r9d
    xor %r10d, %r10d
    xor %r11d, %r11d
    xor %r12d, %r12d
    xor %r13d, %r13d
    xor %r14d, %r14d
    xor %r15d, %r15d
    xor %ecx, %ecx
    mov $4, %eax
    enclu
    ud2

/* First entry in Intel's format: the thread data, which FS and GS point to, are where the TCS says, or the image is
 * broken. */
.Lnew_thread:
    lea -TCS_FROM_TD(%rbx), %r9
    mov %r9, %gs:TD_SELF
    cmp %r9, (%r9)
    jne .Lbroken
    mov %r9, %rsp
    sub nsgx_layout+128(%rip), %rsp
    jmp .Lon_stack
.Lbroken:
    ud2

/* First entry of this thread: its own address and its stack canary. */
.Lfirst:
    mov $16, %edx
.Lrandom:
    rdrand %rax
    jc .Lrandom_done
    dec %edx
    jnz .Lrandom
    mov CRASHED, %eax
    jmp .Lreturn
.Lrandom_done:
    xor %al, %al                /* a zero byte first: a string cannot run over it unseen */
    or $0x100, %rax
    mov %rax, %fs:TD_CANARY
    cmpq $0, %gs:TD_SELF
    jne .Lstart_thread
    lea __image_base(%rip), %rax
    mov nsgx_layout+40(%rip), %rcx   /* first thread data */
    add %rcx, %rax
    mov %gs:TD_INDEX, %ecx
    imul nsgx_layout+48(%rip), %rcx  /* distance between threads */
    add %rcx, %rax
    mov %rax, %gs:TD_SELF
.Lstart_thread:
    push %rdi
    push %rsi
    mov %gs:TD_SELF, %rdi
    mov %rsp, %rbp
    and $-16, %rsp
    call nsgx_thread_start
    mov %rbp, %rsp
    pop %rsi
    pop %rdi
    jmp .Lenter

/* Return from an OCALL: the frame that nsgx_exit_ocall made is at the top of the stack. */
.Loret:
    cmpl $0, %gs:TD_OCALLS
    je .Lno_ocall
    cmpl $STATE_READY, nsgx_state(%rip)
    jne .Lnot_ready
    mov %rsi, %rax
    decl %gs:TD_OCALLS
    popq %gs:TD_NEXT_STACK
    ldmxcsr (%rsp)
    fldcw 4(%rsp)
    add $8, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
.Lno_ocall:
    mov BAD_COMMAND, %eax
    jmp .Lreturn
.Lnot_ready:
    mov CRASHED, %eax
    jmp .Lreturn

/* uint64_t nsgx_exit_ocall(uint64_t index, void *outside): leaves the enclave; returns RSI of the ORET. */
    .globl nsgx_exit_ocall
    .hidden nsgx_exit_ocall
    .type nsgx_exit_ocall, @function
nsgx_exit_ocall:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    sub $8, %rsp
    stmxcsr (%rsp)
    fnstcw 4(%rsp)
    pushq %gs:TD_NEXT_STACK
    lea __image_base(%rip), %rax
    mov %rsp, %rcx
    sub %rax, %rcx
    mov %rcx, %gs:TD_NEXT_STACK
    incl %gs:TD_OCALLS
    jmp .Lleave

/* _Noreturn void nsgx_leave(uint64_t status): ends the call that is under way, wherever it is. */
    .globl nsgx_leave
    .hidden nsgx_leave
    .type nsgx_leave, @function
nsgx_leave:
    mov %rdi, %rax
    jmp .Lreturn

/* CSSA 1: an exception interrupted the thread, and the host offers it to the enclave. */
.Lexception_entry:
    cmp $1, %rax
    jne .Ltoo_deep
    cmpq $0, %gs:TD_EXCEPTION_STACK
    je .Ltoo_deep               /* interrupted before its first entry was complete */
    mov %rcx, %gs:TD_X_EXIT_TARGET
    mov %rsp, %gs:TD_X_OUTSIDE_RSP
    mov %rbp, %gs:TD_X_OUTSIDE_RBP
    lea __image_base(%rip), %r8
    mov %gs:TD_EXCEPTION_STACK, %rsp
    add %r8, %rsp
    push $0
    popfq
    mov $XSTATE_ALL, %eax
    mov $-1, %edx
    xrstor64 nsgx_clean_xstate(%rip)
    and $-16, %rsp
    xor %ebp, %ebp
    mov BAD_COMMAND, %eax
    cmp $COMMAND_EXCEPT, %edi
    jne .Lexception_leave
    call nsgx_exception_offered
.Lexception_leave:
    mov %rax, %rsi
    mov $-1, %rdi
    mov $XSTATE_ALL, %eax
    mov $-1, %edx
    xrstor64 nsgx_clean_xstate(%rip)
    mov %gs:TD_X_EXIT_TARGET, %rbx
    mov %gs:TD_X_OUTSIDE_RSP, %rsp
    mov %gs:TD_X_OUTSIDE_RBP, %rbp
    jmp .Leexit

/* CSSA 2 and more: nothing can be done; the registers of the host are given back untouched. */
.Ltoo_deep:
    mov %rcx, %rbx
    mov BAD_COMMAND, %esi
    mov $-1, %rdi
    jmp .Leexit

/* _Noreturn void nsgx_exception_continue(const struct nsgx_exception *): goes on where the exception's registers say.
 * The return address and the flags go below the red zone of the interrupted code. */
    .globl nsgx_exception_continue
    .hidden nsgx_exception_continue
    .type nsgx_exception_continue, @function
nsgx_exception_continue:
    mov %rdi, %rbx
    mov $XSTATE_ALL, %eax
    mov $-1, %edx
    xrstor64 256(%rbx)
    decl %gs:TD_EXCEPTIONS
    mov 32(%rbx), %rcx          /* RSP */
    mov 136(%rbx), %rax         /* RIP */
    mov %rax, -136(%rcx)
    mov 128(%rbx), %rax         /* RFLAGS */
    mov %rax, -144(%rcx)
    lea -144(%rcx), %rcx
    mov 0(%rbx), %rax
    mov 16(%rbx), %rdx
    mov 40(%rbx), %rbp
    mov 48(%rbx), %rsi
    mov 56(%rbx), %rdi
    mov 64(%rbx), %r8
    mov 72(%rbx), %r9
    mov 80(%rbx), %r10
    mov 88(%rbx), %r11
    mov 96(%rbx), %r12
    mov 104(%rbx), %r13
    mov 112(%rbx), %r14
    mov 120(%rbx), %r15
    mov %rcx, %rsp
    mov 8(%rbx), %rcx
    mov 24(%rbx), %rbx
    popfq
    ret $128

    .globl nsgx_entry_end
    .hidden nsgx_entry_end
nsgx_entry_end:

/* Second phase of an exception: ERESUME lands here with RDI = RSP = the exception's record. */
    .globl nsgx_exception_resumed
    .hidden nsgx_exception_resumed
    .type nsgx_exception_resumed, @function
nsgx_exception_resumed:
    xor %ebp, %ebp
    ldmxcsr nsgx_clean_xstate+24(%rip)
    fninit
    call nsgx_exception_handle
    ud2

/* uint64_t nsgx_leaf_egetkey(const void *request, void *key): RAX of the leaf. */
    .globl nsgx_leaf_egetkey
    .hidden nsgx_leaf_egetkey
    .type nsgx_leaf_egetkey, @function
nsgx_leaf_egetkey:
    push %rbx
    mov %rdi, %rbx
    mov %rsi, %rcx
    mov $1, %eax
    enclu
    pop %rbx
    ret

/* void nsgx_leaf_ereport(const void *targetinfo, const void *reportdata, void *report) */
    .globl nsgx_leaf_ereport
    .hidden nsgx_leaf_ereport
    .type nsgx_leaf_ereport, @function
nsgx_leaf_ereport:
    push %rbx
    mov %rdi, %rbx
    mov %rsi, %rcx
    mov $0, %eax
    enclu
    pop %rbx
    ret

/* uint64_t nsgx_leaf_eaccept(const void *secinfo, const void *page): RAX of the leaf. */
    .globl nsgx_leaf_eaccept
    .hidden nsgx_leaf_eaccept
    .type nsgx_leaf_eaccept, @function
nsgx_leaf_eaccept:
    push %rbx
    mov %rdi, %rbx
    mov %rsi, %rcx
    mov $5, %eax
    enclu
    pop %rbx
    ret

/* void nsgx_leaf_emodpe(const void *secinfo, const void *page) */
    .globl nsgx_leaf_emodpe
    .hidden nsgx_leaf_emodpe
    .type nsgx_leaf_emodpe, @function
nsgx_leaf_emodpe:
    push %rbx
    mov %rdi, %rbx
    mov %rsi, %rcx
    mov $6, %eax
    enclu
    pop %rbx
    ret

/* uint64_t nsgx_leaf_eacceptcopy(const void *secinfo, const void *page, const void *source): RAX of the leaf. */
    .globl nsgx_leaf_eacceptcopy
    .hidden nsgx_leaf_eacceptcopy
    .type nsgx_leaf_eacceptcopy, @function
nsgx_leaf_eacceptcopy:
    push %rbx
    mov %rdi, %rbx
    mov %rsi, %rcx
    mov $7, %eax
    enclu
    pop %rbx
    ret

/* An XSAVE image in the standard format with nothing in use: XRSTOR of it initialises all components. */
    .section .rodata.nsgx_clean_xstate, "a", @progbits
    .balign 64
    .globl nsgx_clean_xstate
    .hidden nsgx_clean_xstate
nsgx_clean_xstate:
    .short 0x37f
    .zero 22
    .long 0x1f80
    .zero 576 - 28

/* Filled by the tool chain after linking; see struct nsgx_layout in runtime.h. */
    .section .nsgx.layout, "a", @progbits
    .balign 16
    .globl nsgx_layout
    .hidden nsgx_layout
nsgx_layout:
    .zero 160

    .section .note.GNU-stack, "", @progbits
