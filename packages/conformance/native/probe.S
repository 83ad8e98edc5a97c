// Code of the probe enclave: does what a command block in untrusted memory says, so that a test can execute any ENCLU
// leaf and any access from inside. Position independent; no secrets, so nothing is cleared.
//
// Command block (offsets in bytes): 0 op, 8 rax, 16 rbx, 24 rcx, 32 rdx (in); 40 rax, 48 rbx, 56 rcx, 64 rdx,
// 72 rflags (out); 80 status: 1 done, 2 continued after an exception that was recovered.
// EENTER gives RAX = CSSA, RBX = TCS, RCX = where EEXIT goes; the caller passes RDI = command block.
  .text
  .globl probe_entry
probe_entry:
  // The FS segment of each thread is its stack page, with a part for each SSA frame. What the calling convention wants
  // kept, the vDSO of Linux does not keep for an enclave.
  rdfsbase %r11
  add $4096, %r11
  and $7, %eax
  shl $9, %eax
  sub %rax, %r11
  xchg %r11, %rsp
  push %r11
  push %rbp
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, %rbp
  mov %rcx, %r15
  mov %rdi, %r14
  mov %rdi, %r13
  xor %r12d, %r12d                  // commands of a script that are left
dispatch:
  mov 0(%r14), %r11
  lea operations(%rip), %r10
  movslq (%r10,%r11,4), %r9
  add %r10, %r9
  mov 8(%r14), %rax
  mov 16(%r14), %rbx
  mov 24(%r14), %rcx
  mov 32(%r14), %rdx
  jmp *%r9

operations:
  .long op_enclu - operations       // 0: ENCLU with RAX, RBX, RCX, RDX
  .long op_load - operations        // 1: rax := u64 at rbx
  .long op_store - operations       // 2: u64 at rbx := rcx
  .long op_call - operations        // 3: call rbx
  .long op_copy - operations        // 4: rcx bytes from rbx to rdx
  .long op_recover - operations     // 5: the GPRSGX at rbx continues at `recovered`, and leaves
  .long op_ud2 - operations         // 6
  .long op_divide - operations      // 7
  .long op_int3 - operations        // 8
  .long op_noncanonical - operations// 9: #GP
  .long op_syscall - operations     // 10: #UD inside an enclave
  .long op_cpuid - operations       // 11: #UD inside an enclave
  .long op_spin - operations        // 12: increments the u64 at rbx until the u64 at rcx is not 0
  .long op_script - operations      // 13: rcx commands, 128 bytes each, from rbx on

op_enclu:
  enclu
  jmp done
op_load:
  mov (%rbx), %rax
  jmp done
op_store:
  mov %rcx, (%rbx)
  jmp done
op_call:
  call *%rbx
  jmp done
op_copy:
  mov %rbx, %rsi
  mov %rdx, %rdi
  cld
  rep movsb
  jmp done
op_recover:
  lea recovered(%rip), %rcx
  mov %rcx, 136(%rbx)
  jmp done
op_ud2:
  ud2
op_divide:
  xor %ecx, %ecx
  xor %edx, %edx
  mov $1, %eax
  div %ecx
op_int3:
  int3
op_noncanonical:
  mov $0x800000000000, %rbx
  mov (%rbx), %rax
op_syscall:
  syscall
  jmp done
op_cpuid:
  cpuid
  jmp done
op_spin:
  incq (%rbx)
  cmpq $0, (%rcx)
  je op_spin
  jmp done

op_script:
  mov %rcx, %r12
  mov %rbx, %r14
  test %r12, %r12
  jnz dispatch
  mov %r13, %r14
  jmp done

recovered:
  movq $2, 80(%r14)
  jmp next

done:
  mov %rax, 40(%r14)
  mov %rbx, 48(%r14)
  mov %rcx, 56(%r14)
  mov %rdx, 64(%r14)
  pushfq
  popq %rax
  mov %rax, 72(%r14)
  movq $1, 80(%r14)
next:
  sub $1, %r12
  jbe leave                         // the last of a script, or no script
  add $128, %r14
  jmp dispatch
leave:
  mov %r13, %rdi
  mov %r15, %rbx
  mov %rbp, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbp
  pop %rsp
  mov $4, %eax                      // EEXIT
  enclu
  ud2
  .section .note.GNU-stack,"",@progbits
