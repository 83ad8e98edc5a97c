/* The part of <stdio.h> that the runtime has: formatting into memory. Conversions: d i u x X c s p %, with the flags
 * 0 and -, a width, a precision for s, and the lengths l, ll and z. */
#ifndef NSGX_LIBC_STDIO_H
#define NSGX_LIBC_STDIO_H
#include <stdarg.h>
#include <stddef.h>
int snprintf(char *to, size_t capacity, const char *format, ...) __attribute__((format(printf, 3, 4)));
int vsnprintf(char *to, size_t capacity, const char *format, va_list arguments);
#endif
