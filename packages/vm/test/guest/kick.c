/* What the guest module does to wake somebody, from user space: marks a page of the window and writes to the port. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/io.h>
#include <sys/mman.h>

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  uint64_t relay = strtoull(argv[1], NULL, 0), index = strtoull(argv[2], NULL, 0);
  int fd = open("/dev/mem", O_RDWR | O_SYNC);
  uint64_t *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)relay);
  if (fd < 0 || page == MAP_FAILED || ioperm(0x4e4, 1, 1) < 0) {
    perror("kick");
    return 1;
  }
  __atomic_or_fetch(&page[index / 64], 1ull << index % 64, __ATOMIC_SEQ_CST);
  __atomic_or_fetch(&page[256 + index / 4096], 1ull << index / 64 % 64, __ATOMIC_SEQ_CST);
  outb('!', 0x4e4);
  return 0;
}
