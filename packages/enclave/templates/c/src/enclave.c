/* Code that runs inside the enclave. interface.json says what the outside may call (ecalls) and what this code may
 * call outside (ocalls); `nsgx build` makes nsgx_interface.h from it. */
#include <stdio.h>

#include "nsgx_interface.h"

int32_t add(int32_t a, int32_t b) { return (int32_t)((uint32_t)a + (uint32_t)b); }

nsgx_string greet(nsgx_string who) {
    size_t room = who.length + 32;
    char *text = nsgx_call_alloc(room);
    if (text == NULL) return nsgx_text("");
    snprintf(text, room, "Hello %.*s!", (int)who.length, who.data);
    log_line(nsgx_text("greet was called"));
    return nsgx_text(text);
}
