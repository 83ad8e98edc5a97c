/* The part of <wchar.h> that the runtime has. */
#ifndef NSGX_LIBC_WCHAR_H
#define NSGX_LIBC_WCHAR_H
#include <stddef.h>
size_t wcslen(const wchar_t *text);
#endif
