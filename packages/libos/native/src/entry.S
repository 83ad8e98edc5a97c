/* Ways between a program and the library OS. GS stays the thread data (native/runtime/thread.h of package enclave); the
 * library OS keeps its own fields behind them. Vector registers are the program's throughout. */
#define TD_EXCEPTIONS 112
#define USER_RSP 1024    /* the program's RSP while a system call runs */
#define KERNEL_RSP 1032  /* the thread's own stack as it was when the program was entered */
#define SIGNAL 1040      /* u32: whether a signal waits; written by libos_dispatch */
#define RESUME_RIP 1048
#define SLOT 1056
#define ENTRY 1064       /* u64: where trampolines go (src/rewrite/rewrite.ts) */
#define NUMBER 1060      /* u32: of the system call under way */
#define SYS_RT_SIGRETURN 15
#define SYS_CLONE 56 /* fork, vfork, execve */
#define SYS_EXIT 60
#define SYS_EXIT_GROUP 231
#define SYS_CLONE3 435

/* nsgx_exception: registers first */
#define RECORD_XSTATE 256

/* nsgx_registers */
#define REGISTERS 144
#define R_RSP 32
#define R_RFLAGS 128
#define R_RIP 136

/* A system call of a patched site: as behind SYSCALL, but RCX (the address behind it) is set by the trampoline. Keeps
 * everything but RAX, RCX, R11 and the flags. */
    .text
    .globl libos_syscall
    .hidden libos_syscall
libos_syscall:
    mov %rsp, %gs:USER_RSP
    mov %gs:KERNEL_RSP, %rsp
    mov %eax, %gs:NUMBER
    cmp $SYS_RT_SIGRETURN, %eax
    je .Lsignal_return
    lea -SYS_CLONE(%rax), %r11d
    cmp $SYS_EXIT-SYS_CLONE, %r11d
    jbe .Lfull
    cmp $SYS_EXIT_GROUP, %eax
    je .Lfull
    cmp $SYS_CLONE3, %eax
    je .Lfull
    push %rcx
    push %rdi
    push %rsi
    push %rdx
    push %r10
    push %r8
    push %r9
    push %r9                    /* seventh argument */
    mov %r8, %r9
    mov %r10, %r8
    mov %rdx, %rcx
    mov %rsi, %rdx
    mov %rdi, %rsi
    mov %eax, %edi
    cld
    call libos_dispatch
    add $8, %rsp
    pop %r9
    pop %r8
    pop %r10
    pop %rdx
    pop %rsi
    pop %rdi
    pop %rcx
    cmpl $0, %gs:SIGNAL
    jne .Lsignal
    mov %gs:USER_RSP, %rsp
    jmp *%rcx

/* nsgx_registers of the program as they are behind the call. */
    .macro PUSH_REGISTERS
    push %rcx
    pushq $0x202
    push %r15
    push %r14
    push %r13
    push %r12
    push %r11
    push %r10
    push %r9
    push %r8
    push %rdi
    push %rsi
    push %rbp
    pushq %gs:USER_RSP
    push %rbx
    push %rdx
    push %rcx
    push %rax
    .endm

/* Calls that begin and end threads and programs want all registers. */
.Lfull:
    PUSH_REGISTERS
    mov %rsp, %rdi
    cld
    call libos_dispatch_full
    jmp .Ldeliver

/* A signal waits. */
.Lsignal:
    PUSH_REGISTERS
.Ldeliver:
    movl $0, %gs:SIGNAL
    mov %rsp, %rdi
    mov %gs:NUMBER, %esi
    call libos_signals

/* The program goes on with the registers at RSP. */
.Lgo_on:
    mov %rsp, %rbx
    mov R_RIP(%rbx), %rax
    mov %rax, %gs:RESUME_RIP
    pushq R_RFLAGS(%rbx)
    popfq
    mov 0(%rbx), %rax
    mov 8(%rbx), %rcx
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
    mov R_RSP(%rbx), %rsp
    mov 24(%rbx), %rbx
    jmp *%gs:RESUME_RIP

/* Back from a handler: all registers come from its frame. */
.Lsignal_return:
    sub $REGISTERS, %rsp
    mov %gs:USER_RSP, %rax
    mov %rax, R_RSP(%rsp)
    mov %rsp, %rdi
    cld
    call libos_signal_return
    jmp .Ldeliver

/* What libos_leave_user brings back, and what the library OS finds when the program calls it. */
    .macro KEEP_OWN
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    sub $8, %rsp
    stmxcsr (%rsp)
    fnstcw 4(%rsp)
    mov %rsp, %gs:KERNEL_RSP
    lea libos_syscall(%rip), %rax
    mov %rax, %gs:ENTRY
    .endm

/* int64_t libos_enter_user(rip, rsp): runs a program until libos_leave_user(status), whose status it returns. */
    .globl libos_enter_user
    .hidden libos_enter_user
libos_enter_user:
    KEEP_OWN
    mov %rsi, %rsp
    mov %rdi, %rcx
    xor %eax, %eax
    xor %ebx, %ebx
    xor %edx, %edx
    xor %esi, %esi
    xor %edi, %edi
    xor %ebp, %ebp
    xor %r8d, %r8d
    xor %r9d, %r9d
    xor %r10d, %r10d
    xor %r11d, %r11d
    xor %r12d, %r12d
    xor %r13d, %r13d
    xor %r14d, %r14d
    xor %r15d, %r15d
    jmp *%rcx

/* _Noreturn void libos_resume(const nsgx_registers *registers): the program goes on with these; FS is its own. */
    .globl libos_resume
    .hidden libos_resume
libos_resume:
    mov %rdi, %rsi
    mov %gs:KERNEL_RSP, %rax
    lea -REGISTERS(%rax), %rdi
    mov $REGISTERS/8, %ecx
    cld
    rep movsq
    lea -REGISTERS(%rax), %rsp
    jmp .Lgo_on

/* int64_t libos_enter_thread(const nsgx_registers *registers, fs, mxcsr): the same for a thread that begins as another stands. */
    .globl libos_enter_thread
    .hidden libos_enter_thread
libos_enter_thread:
    KEEP_OWN
    sub $16, %rsp
    mov %edx, (%rsp)
    ldmxcsr (%rsp)
    wrfsbase %rsi
    sub $REGISTERS, %rsp
    mov %rdi, %rsi
    mov %rsp, %rdi
    mov $REGISTERS/8, %ecx
    cld
    rep movsq
    jmp .Lgo_on

    .globl libos_leave_user
    .hidden libos_leave_user
libos_leave_user:
    mov %gs:KERNEL_RSP, %rsp
    movl $0, %gs:TD_EXCEPTIONS  /* it may come out of one */
    mov %gs:0, %rax             /* FS is the runtime's again: its stack protector reads it */
    wrfsbase %rax
    cld
    ldmxcsr (%rsp)
    fldcw 4(%rsp)
    add $8, %rsp
    mov %rdi, %rax
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret

/* Second phase of an exception of the program: RDI = RSP = the record, on the thread's own stack. The program goes on with
 * what is in the record then; nothing is put on its stack, which may have no pages yet. */
    .globl libos_user_exception_resumed
    .hidden libos_user_exception_resumed
libos_user_exception_resumed:
    xor %ebp, %ebp
    mov %rsp, %rbx
    call libos_user_exception
    lea RECORD_XSTATE(%rbx), %rdi
    call libos_restore_vectors
    mov %rbx, %rsp
    decl %gs:TD_EXCEPTIONS
    jmp .Lgo_on

/* Second phase of an interrupt: the same, and the program goes on with what is in the record then. */
    .globl libos_user_interrupt_resumed
    .hidden libos_user_interrupt_resumed
libos_user_interrupt_resumed:
    xor %ebp, %ebp
    mov %rsp, %rbx
    call libos_user_interrupt
    mov %rbx, %rsp
    decl %gs:TD_EXCEPTIONS
    jmp .Lgo_on

/*
 * uint64_t libos_leaf_eaccept_range(const void *secinfo, const void *page, uint64_t count): RAX of the leaf, which
 * hardware does not have: exception.c makes its #GP LIBOS_NO_LEAF.
 */
    .globl libos_leaf_eaccept_range, libos_leaf_eaccept_range_enclu
    .hidden libos_leaf_eaccept_range, libos_leaf_eaccept_range_enclu
libos_leaf_eaccept_range:
    push %rbx
    mov %rdi, %rbx
    mov %rsi, %rcx
    mov $0x80, %eax
libos_leaf_eaccept_range_enclu:
    enclu
    pop %rbx
    ret

/* Accesses to the program's memory that may fault: exception.c sends them to libos_guard_fail, and they return false. */
    .globl libos_guarded_copy, libos_guarded_fill, libos_guarded_equal, libos_guard_start, libos_guard_end, libos_guard_fail
    .hidden libos_guarded_copy, libos_guarded_fill, libos_guarded_equal, libos_guard_start, libos_guard_end, libos_guard_fail
libos_guard_start:
libos_guarded_copy:
    mov %rdx, %rcx
    cmp $256, %rcx
    ja 2f
    mov %ecx, %edx
    shr $3, %ecx
    jz 4f
3:  mov (%rsi), %rax
    mov %rax, (%rdi)
    add $8, %rsi
    add $8, %rdi
    dec %ecx
    jnz 3b
4:  mov %edx, %ecx
    and $7, %ecx
    jz 6f
5:  movzbl (%rsi), %eax
    mov %al, (%rdi)
    inc %rsi
    inc %rdi
    dec %ecx
    jnz 5b
6:  mov $1, %eax
    ret
2:  rep movsb
    mov $1, %eax
    ret
libos_guarded_fill:
    mov %rsi, %rcx
    xor %eax, %eax
    rep stosb
    mov $1, %eax
    ret
libos_guarded_equal:
    mov %rdx, %rcx
    xor %eax, %eax
    repe cmpsb
    sete %al
    ret
libos_guard_end:
libos_guard_fail:
    xor %eax, %eax
    ret

/* The program's vector registers across an exit from the enclave, which clears them. RDI: 64-byte aligned. */
    .globl libos_save_vectors, libos_restore_vectors
    .hidden libos_save_vectors, libos_restore_vectors
libos_save_vectors:
    mov $-1, %eax
    mov $-1, %edx
    xsave64 (%rdi)
    ret
libos_restore_vectors:
    mov $-1, %eax
    mov $-1, %edx
    xrstor64 (%rdi)
    ret

    .section .note.GNU-stack, "", @progbits
