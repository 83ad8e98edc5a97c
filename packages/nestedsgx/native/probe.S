/*
 * Code and data of the probe enclave, two pages: the transitions by themselves, without a runtime.
 * RDI = command, RSI = count; for leaves on pages RDX = the first page, R8 = SECINFO.FLAGS. EEXIT with RDI = 0, or the
 * error code of a leaf.
 */
        .text
        .globl entry
entry:
        mov %rcx, %r12
        mov %rsi, %r13
        cmp $1, %edi
        je breakpoints
        cmp $2, %edi
        je undefined
        cmp $3, %edi
        je absent
        cmp $4, %edi
        je reports
        cmp $5, %edi
        je keys
        cmp $6, %edi
        je accepts
        cmp $7, %edi
        je extends
        cmp $8, %edi
        je copies
        cmp $9, %edi
        je calls
        xor %edi, %edi
leave:
        mov %r12, %rbx
        mov $4, %eax
        enclu

/* An exception that never ends: the host resumes as often as it likes. */
breakpoints:
        int3
        jmp breakpoints
undefined:
        ud2
absent:
        lea entry(%rip), %rax
        mov 0xf000(%rax), %rax

reports:
        lea target(%rip), %rbx
        lea data(%rip), %rcx
        lea report(%rip), %rdx
        mov $0, %eax
        enclu
        dec %r13
        jnz reports
        xor %edi, %edi
        jmp leave

keys:
        lea request(%rip), %rbx
        lea key(%rip), %rcx
        mov $1, %eax
        enclu
        mov %eax, %edi
        test %eax, %eax
        jnz leave
        dec %r13
        jnz keys
        jmp leave

/* Leaves on consecutive pages, as many as RSI says. */
accepts:
        mov %r8, secinfo(%rip)
        mov %rdx, %r14
1:      lea secinfo(%rip), %rbx
        mov %r14, %rcx
        mov $5, %eax
        enclu
        mov %eax, %edi
        test %eax, %eax
        jnz leave
        add $0x1000, %r14
        dec %r13
        jnz 1b
        jmp leave

extends:
        mov %r8, secinfo(%rip)
        mov %rdx, %r14
1:      lea secinfo(%rip), %rbx
        mov %r14, %rcx
        mov $6, %eax
        enclu
        add $0x1000, %r14
        dec %r13
        jnz 1b
        xor %edi, %edi
        jmp leave

copies:
        mov %r8, secinfo(%rip)
        mov %rdx, %r14
1:      lea secinfo(%rip), %rbx
        mov %r14, %rcx
        lea target(%rip), %rdx
        mov $7, %eax
        enclu
        mov %eax, %edi
        test %eax, %eax
        jnz leave
        add $0x1000, %r14
        dec %r13
        jnz 1b
        jmp leave

/*
 * System calls on host descriptors. RDX = the call: number, six arguments, then result and cycles of all; R8 = where it is
 * made.
 */
calls:
        lea secinfo(%rip), %rsp
        mov %rdx, %r14
        mov %r8, %rbx
        rdtsc
        shl $32, %rdx
        lea (%rdx,%rax), %r15
1:      mov (%r14), %rax
        mov 8(%r14), %rdi
        mov 16(%r14), %rsi
        mov 24(%r14), %rdx
        mov 32(%r14), %r10
        mov 40(%r14), %r8
        mov 48(%r14), %r9
        call *%rbx
        dec %r13
        jnz 1b
        mov %rax, 56(%r14)
        rdtsc
        shl $32, %rdx
        or %rdx, %rax
        sub %r15, %rax
        mov %rax, 64(%r14)
        xor %edi, %edi
        jmp leave

        .org 0x1000
target: .fill 512, 1, 0
data:   .fill 512, 1, 0
report: .fill 512, 1, 0
        .org 0x1800
request:                        /* KEYNAME = SEAL_KEY, KEYPOLICY = MRENCLAVE */
        .short 4, 1
        .fill 508, 1, 0
key:    .fill 16, 1, 0
        .org 0x1c00
secinfo: .fill 64, 1, 0
        .org 0x2000
