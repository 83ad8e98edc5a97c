/* policy.c: holds the host to what the image lets it say. */
#ifndef LIBOS_POLICY_H
#define LIBOS_POLICY_H

#include <stdbool.h>

#include "nsgx.h"

/* False, with a note, when arguments or environment are not allowed; else `envp` has the image's variables too. */
bool libos_policy_apply(nsgx_bytes argv, nsgx_bytes *envp);

#endif
