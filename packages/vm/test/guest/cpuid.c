/* What a program that uses SGX asks the processor, in itself and in a child. */
#include <cpuid.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* The bytes of a CPUID instruction that is none: in an immediate, and in data. */
static const volatile unsigned char data[] = {0x0f, 0xa2, 0x0f, 0xa2};

static unsigned immediate(void) {
  unsigned value;
  __asm__ volatile("mov $0x0fa20fa2, %0\n\tadd $0xa20f, %0" : "=r"(value));
  return value;
}

static void show(const char *who) {
  unsigned a, b, c, d, features, top;
  __cpuid(0, top, b, c, d);
  __cpuid_count(7, 0, a, features, c, d);
  printf("%s top %u sgx %u", who, top >= 0x12, features >> 2 & 1);
  for (unsigned leaf = 0; leaf < 4; leaf++) {
    __cpuid_count(0x12, leaf, a, b, c, d);
    printf(" %x:%x:%x:%x", a, b, c, d);
  }
  printf(" %x %x\n", immediate(), data[0] << 8 | data[1]);
  fflush(stdout);
}

int main(void) {
  show("parent");
  if (fork() == 0) {
    show("child");
    return 0;
  }
  wait(NULL);
  return 0;
}
