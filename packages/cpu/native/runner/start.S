// Process entry, thread creation and the system calls of start-up (refused once the filter is in place).
#include "layout.h"
  .text
  .globl _start
_start:
  mov %rsp, %rdi
  lea main_stack_top(%rip), %rsp
  xor %ebp, %ebp
  call runner_main
  ud2

// s64 start_call(u64 number, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
  .globl start_call
start_call:
  mov %rdi, %rax
  mov %rsi, %rdi
  mov %rdx, %rsi
  mov %rcx, %rdx
  mov %r8, %r10
  mov %r9, %r8
  mov 8(%rsp), %r9
  syscall
  ret

// s64 start_thread(u64 flags, void *stack_top, u32 *parent_tid, struct thread *t): the new thread runs thread_main(t).
  .globl start_thread
start_thread:
  mov %rcx, %r9
  mov $56, %eax
  xor %r10d, %r10d
  xor %r8d, %r8d
  syscall
  test %rax, %rax
  jnz 1f
  xor %ebp, %ebp
  mov %r9, %rdi
  call thread_main
  ud2
1:
  ret

// The kernel insists on a restorer; nothing returns through it.
  .globl no_restorer
no_restorer:
  ud2

  .bss
  .balign 4096
  .skip 65536
main_stack_top:
  .section .note.GNU-stack,"",@progbits
