/*
 * Linux's SGX interface for callers that have no C of their own: the driver's ioctl, its mmap, and the kernel's entry
 * function in the vDSO. Source: arch/x86/include/uapi/asm/sgx.h.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

/* All functions return a result or -errno. */
EXPORT int64_t nsgx_sgx_open(const char *path) {
  int fd = open(path, O_RDWR | O_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

EXPORT int64_t nsgx_sgx_ioctl(int32_t fd, uint64_t request, void *argument) {
  int result = ioctl(fd, request, argument);
  return result < 0 ? -errno : result;
}

/* A range of `bytes` aligned to its size, reserved without access. */
EXPORT int64_t nsgx_sgx_reserve(uint64_t bytes) {
  uint8_t *at = mmap(0, bytes * 2, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) return -errno;
  uint8_t *aligned = (uint8_t *)(((uintptr_t)at + bytes - 1) & ~(bytes - 1));
  if (aligned > at) munmap(at, (size_t)(aligned - at));
  munmap(aligned + bytes, (size_t)(at + bytes - aligned));
  return (int64_t)(uintptr_t)aligned;
}

EXPORT int64_t nsgx_sgx_map(int32_t fd, uint64_t address, uint64_t bytes, int32_t protection) {
  void *at = mmap((void *)address, bytes, protection, MAP_SHARED | MAP_FIXED, fd, 0);
  return at == MAP_FAILED ? -errno : 0;
}

EXPORT int64_t nsgx_sgx_unmap(uint64_t address, uint64_t bytes) {
  return munmap((void *)address, bytes) < 0 ? -errno : 0;
}

/* Address of __vdso_sgx_enter_enclave, or 0 where the kernel has none. */
EXPORT uint64_t nsgx_sgx_vdso(void) {
  const uint8_t *image = (const uint8_t *)getauxval(AT_SYSINFO_EHDR);
  if (!image) return 0;
  const Elf64_Ehdr *header = (const Elf64_Ehdr *)image;
  const Elf64_Phdr *segment = (const Elf64_Phdr *)(image + header->e_phoff);
  const Elf64_Dyn *dynamic = 0;
  for (int i = 0; i < header->e_phnum; i++)
    if (segment[i].p_type == PT_DYNAMIC) dynamic = (const Elf64_Dyn *)(image + segment[i].p_offset);
  if (!dynamic) return 0;
  const Elf64_Sym *symbols = 0;
  const char *names = 0;
  const uint32_t *hash = 0;
  for (; dynamic->d_tag != DT_NULL; dynamic++) {
    const void *at = image + dynamic->d_un.d_ptr;
    if (dynamic->d_tag == DT_SYMTAB) symbols = at;
    if (dynamic->d_tag == DT_STRTAB) names = at;
    if (dynamic->d_tag == DT_HASH) hash = at;
  }
  if (!symbols || !names || !hash) return 0;
  for (uint32_t i = 0; i < hash[1]; i++)
    if (!strcmp(names + symbols[i].st_name, "__vdso_sgx_enter_enclave"))
      return (uint64_t)(uintptr_t)(image + symbols[i].st_value);
  return 0;
}

typedef int (*enter_function)(uint64_t, uint64_t, uint64_t, uint32_t, uint64_t, uint64_t, void *);

/*
 * Enters through the vDSO. The enclave may leave any value in the callee-saved registers, so the call is made with all
 * of them declared as lost.
 */
EXPORT int64_t nsgx_sgx_enter(uint64_t vdso, uint32_t function, uint64_t rdi, uint64_t rsi, void *run) {
  int result = ((enter_function)vdso)(rdi, rsi, 0, function, 0, 0, run);
  __asm__ volatile("" ::: "rbx", "r12", "r13", "r14", "r15", "memory");
  return result;
}
