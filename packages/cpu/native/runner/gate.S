// The crossing between a runner thread and its enclave. Nothing here uses the enclave's stack, FS or GS, and no
// register that the enclave left is trusted for anything but becoming the enclave's own saved state.
#include "layout.h"

#define TB(field) MEMORY_THREADS+THREAD_##field
  .text

  .macro PUSH_CALLEE_SAVED
  push %rbx
  push %rbp
  push %r12
  push %r13
  push %r14
  push %r15
  .endm

  .macro POP_CALLEE_SAVED
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbp
  pop %rbx
  .endm

// u32 enter_enclave(struct thread *t): EENTER's last steps. Returns BACK_* when the thread is out again.
  .globl enter_enclave, enter_window_start, enter_window_end
enter_enclave:
  PUSH_CALLEE_SAVED
  mov %rdi, %r10
  mov %rsp, THREAD_HOST_RSP(%r10)
enter_window_start:
  cmpl $0, THREAD_KICK_PENDING(%r10)
  jne window_abort
  movl $1, THREAD_INSIDE(%r10)
  mov THREAD_FS_BASE(%r10), %rax
  wrfsbase %rax
  mov THREAD_GS_BASE(%r10), %rax
  wrgsbase %rax
  mov THREAD_RAX(%r10), %rax
  mov THREAD_RCX(%r10), %rcx
  mov THREAD_RDX(%r10), %rdx
  mov THREAD_RBX(%r10), %rbx
  mov THREAD_RSI(%r10), %rsi
  mov THREAD_RDI(%r10), %rdi
  mov THREAD_R8(%r10), %r8
  mov THREAD_R9(%r10), %r9
  mov THREAD_RBP(%r10), %rbp
  xor %r11d, %r11d
  xor %r12d, %r12d
  xor %r13d, %r13d
  xor %r14d, %r14d
  xor %r15d, %r15d
  mov THREAD_RSP(%r10), %rsp
  jmp *THREAD_RIP(%r10)
enter_window_end:
  ud2

// u32 resume_enclave(struct thread *t, const void *xsave): continues from the registers in the thread block; the
// XSAVE image is loaded first unless the pointer is zero.
  .globl resume_enclave, resume_window_start, resume_window_end, resume_xrstor
resume_enclave:
  PUSH_CALLEE_SAVED
  mov %rdi, %r10
  mov %rsp, THREAD_HOST_RSP(%r10)
resume_window_start:
  cmpl $0, THREAD_KICK_PENDING(%r10)
  jne window_abort
  test %rsi, %rsi
  jz 1f
  mov $-1, %eax
  mov $-1, %edx
resume_xrstor:
  xrstor64 (%rsi)
1:
  movl $1, THREAD_INSIDE(%r10)
  mov THREAD_FS_BASE(%r10), %rax
  wrfsbase %rax
  mov THREAD_GS_BASE(%r10), %rax
  wrgsbase %rax
  pushq $0x2b
  pushq THREAD_RSP(%r10)
  pushq THREAD_RFLAGS(%r10)
  pushq $0x33
  pushq THREAD_RIP(%r10)
  mov THREAD_RAX(%r10), %rax
  mov THREAD_RCX(%r10), %rcx
  mov THREAD_RDX(%r10), %rdx
  mov THREAD_RBX(%r10), %rbx
  mov THREAD_RBP(%r10), %rbp
  mov THREAD_RSI(%r10), %rsi
  mov THREAD_RDI(%r10), %rdi
  mov THREAD_R8(%r10), %r8
  mov THREAD_R9(%r10), %r9
  mov THREAD_R11(%r10), %r11
  mov THREAD_R12(%r10), %r12
  mov THREAD_R13(%r10), %r13
  mov THREAD_R14(%r10), %r14
  mov THREAD_R15(%r10), %r15
  mov THREAD_R10(%r10), %r10
  iretq
resume_window_end:
  ud2

// A kick came before the entry was complete.
window_abort:
  mov $BACK_RETRY, %eax
  POP_CALLEE_SAVED
  ret

// Where the trampolines of patched ENCLU sites arrive. RAX = offset of the thread block (read from the limit of the
// thread's GDT entry), RCX and the site are stored; all other registers and the flags but ZF are the enclave's.
  .globl patched_enclu
patched_enclu:
  lea MEMORY_THREADS(%rax), %rax
  mov %rdx, THREAD_RDX(%rax)
  mov %rbx, THREAD_RBX(%rax)
  mov %rsp, THREAD_RSP(%rax)
  mov %rbp, THREAD_RBP(%rax)
  mov %rsi, THREAD_RSI(%rax)
  mov %rdi, THREAD_RDI(%rax)
  mov %r8, THREAD_R8(%rax)
  mov %r9, THREAD_R9(%rax)
  mov %r10, THREAD_R10(%rax)
  mov %r11, THREAD_R11(%rax)
  mov %r12, THREAD_R12(%rax)
  mov %r13, THREAD_R13(%rax)
  mov %r14, THREAD_R14(%rax)
  mov %r15, THREAD_R15(%rax)
  mov THREAD_HOST_RSP(%rax), %rsp
  pushfq
  popq THREAD_RFLAGS(%rax)
  // DF, AC, NT and TF must not reach the stub.
  pushq $2
  popfq
  movl $0, THREAD_INSIDE(%rax)
  mov $BACK_ENCLU, %eax
  POP_CALLEE_SAVED
  ret

// void leave_to_host(struct thread *t, u32 why): from a signal handler back into the thread's loop.
  .globl leave_to_host
leave_to_host:
  mov THREAD_HOST_RSP(%rdi), %rsp
  movl $0, THREAD_INSIDE(%rdi)
  mov %esi, %eax
  POP_CALLEE_SAVED
  ret

// Entry of every signal handler: AC and NT survive into it, so they go first. Stack alignment is a call's.
  .globl signal_entry
signal_entry:
  pushq $2
  popfq
  jmp on_signal

// void resume_context(ucontext *uc): continues what a signal interrupted, without rt_sigreturn.
  .globl resume_context
resume_context:
  lea 40(%rdi), %rsp              // gregs: r8..r15 rdi rsi rbp rbx rdx rax rcx rsp rip eflags csgsfs
  mov 184(%rsp), %rcx             // fpstate
  test %rcx, %rcx
  jz 1f
  mov $-1, %eax
  mov $-1, %edx
  xrstor64 (%rcx)
1:
  mov 64(%rsp), %rdi
  mov 72(%rsp), %rsi
  mov 80(%rsp), %rbp
  mov 88(%rsp), %rbx
  mov 104(%rsp), %rax
  mov 112(%rsp), %rcx
  mov 0(%rsp), %r8
  mov 8(%rsp), %r9
  mov 16(%rsp), %r10
  mov 24(%rsp), %r11
  mov 32(%rsp), %r12
  mov 40(%rsp), %r13
  mov 48(%rsp), %r14
  mov 56(%rsp), %r15
  mov 128(%rsp), %rdx             // an interrupt frame over the slots just read
  mov %rdx, 0(%rsp)
  movzwl 144(%rsp), %edx
  mov %rdx, 8(%rsp)
  mov 136(%rsp), %rdx
  mov %rdx, 16(%rsp)
  mov 120(%rsp), %rdx
  mov %rdx, 24(%rsp)
  movq $0x2b, 32(%rsp)
  mov 96(%rsp), %rdx
  iretq

// Accesses that may fault: on a fault the handler continues at guard_fail, and they return 1. They use no stack
// but the return address.
  .globl guard_start, guard_end, guard_fail
  .globl guarded_copy, guarded_store_pair, guarded_store_word, guarded_xsave, guarded_load, guarded_touch
guard_start:
guarded_copy:                     // (void *to, const void *from, u64 bytes)
  mov %rdx, %rcx
  rep movsb
  xor %eax, %eax
  ret
guarded_store_pair:               // (u64 *to, u64 first, u64 second)
  mov %rsi, (%rdi)
  mov %rdx, 8(%rdi)
  xor %eax, %eax
  ret
guarded_store_word:               // (u32 *to, u32 value)
  mov %esi, (%rdi)
  xor %eax, %eax
  ret
guarded_xsave:                    // (void *area, u64 mask)
  mov %esi, %eax
  mov %rsi, %rdx
  shr $32, %rdx
  xsave64 (%rdi)
  xor %eax, %eax
  ret
guarded_load:                     // (const u8 *from, u8 *to)
  movzbl (%rdi), %eax
  mov %al, (%rsi)
  xor %eax, %eax
  ret
guarded_touch:                    // (u8 *at): readable and writable
  lock orb $0, (%rdi)
  xor %eax, %eax
  ret
guard_end:
guard_fail:
  mov $1, %eax
  ret

// s32 try_int80(u32 number, u32 argument, s64 *result): 1 when the kernel has no 32-bit system calls.
  .globl try_int80, int80_at, int80_fail
try_int80:
  push %rbx
  push %rdx
  mov %edi, %eax
  mov %esi, %ebx
int80_at:
  int $0x80
  pop %rdx
  pop %rbx
  movslq %eax, %rax
  mov %rax, (%rdx)
  xor %eax, %eax
  ret
int80_fail:
  pop %rdx
  pop %rbx
  mov $1, %eax
  ret

// void load_xstate(const void *image): all user state components.
  .globl load_xstate
load_xstate:
  mov $-1, %eax
  mov $-1, %edx
  xrstor64 (%rdi)
  ret

// The system calls that remain after start-up, each allowed at its own address only.
  .macro SYSTEM_CALL name, number
  .globl \name, \name\()_ip
\name:
  mov $\number, %eax
  mov %rcx, %r10
  syscall
\name\()_ip:
  ret
  .endm
  SYSTEM_CALL call_futex, 202
  SYSTEM_CALL call_setaffinity, 203
  SYSTEM_CALL call_yield, 24
  SYSTEM_CALL call_read, 0
  SYSTEM_CALL call_tgkill, 234
  SYSTEM_CALL call_exit_group, 231
  SYSTEM_CALL call_mprotect, 10
  SYSTEM_CALL call_mmap, 9
  SYSTEM_CALL call_munmap, 11

// What an enclave with host descriptors calls: number in EAX, arguments in RDI RSI RDX R10 R8 R9, on the enclave's own
// stack. Interrupted here, it is interrupted as in its own code.
  .section .descriptor_call,"ax",@progbits
  .globl descriptor_call, descriptor_call_ip, descriptor_call_end
descriptor_call:
  syscall
descriptor_call_ip:
  ret
descriptor_call_end:
  .section .note.GNU-stack,"",@progbits
