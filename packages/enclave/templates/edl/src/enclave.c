/* Code that runs inside the enclave. enclave.edl says what the outside may call (trusted) and what this code may call
 * outside (untrusted); `nsgx build` makes enclave_t.h from it. */
#include <stdio.h>

#include "enclave_t.h"

int add(int a, int b) { return (int)((unsigned)a + (unsigned)b); }

/* `who` and `text` are copies in the enclave's own memory; `text` goes out when the call returns. */
int greet(const char *who, char *text, size_t room) {
    if (who == NULL || text == NULL) return -1;
    int length = snprintf(text, room, "Hello %s!", who);
    if (log_line("greet was called") != SGX_SUCCESS) return -1;
    return length;
}
