/* What the image lets the host say to the program (src/image/policy.ts). It is measured; without one everything goes. */
#include "libos.h"
#include "policy.h"

#define SIGNATURE 0x3150534eu /* "NSP1" */
#define MAX_BYTES (128u * 1024)
enum { ARGUMENTS_ANY, ARGUMENTS_FIXED, ARGUMENTS_PREFIX };

struct policy {
    uint32_t signature, arguments, listed;
    uint32_t argument_bytes, set_bytes, pass_bytes;
    uint8_t strings[];
};

static uint8_t environment[MAX_BYTES];

static const struct policy *policy_of_image(void) {
    const struct libos_boot *boot = libos_boot();
    if (boot->policy_size == 0) return NULL;
    const struct policy *p = (const struct policy *)(__image_base + boot->policy_start);
    uint64_t bytes = sizeof *p + (uint64_t)p->argument_bytes + p->set_bytes + p->pass_bytes;
    if (boot->policy_size < sizeof *p || p->signature != SIGNATURE || bytes > boot->policy_size || bytes > MAX_BYTES)
        libos_die("the policy of the image is damaged", boot->policy_size);
    return p;
}

static size_t string_end(const uint8_t *data, size_t at, size_t length) {
    while (at < length && data[at] != 0) at++;
    return at;
}

/* Length of the name before '='; 0 when there is none. */
static size_t name_length(const uint8_t *text, size_t length) {
    for (size_t i = 0; i < length; i++)
        if (text[i] == '=') return i;
    return 0;
}

static bool same(const uint8_t *a, const uint8_t *b, size_t length) {
    for (size_t i = 0; i < length; i++)
        if (a[i] != b[i]) return false;
    return true;
}

/* Whether a list of names, some ending in '*', has this one. */
static bool passes(const uint8_t *list, size_t bytes, const uint8_t *name, size_t length) {
    for (size_t at = 0; at < bytes;) {
        size_t end = string_end(list, at, bytes), own = end - at;
        if (own > 0 && list[end - 1] == '*' ? own - 1 <= length && same(list + at, name, own - 1)
                                            : own == length && same(list + at, name, own))
            return true;
        at = end + 1;
    }
    return false;
}

/* Whether the host gave a variable of this name. */
static bool given(nsgx_bytes envp, const uint8_t *name, size_t length) {
    for (size_t at = 0; at < envp.length;) {
        size_t end = string_end(envp.data, at, envp.length);
        if (name_length(envp.data + at, end - at) == length && same(envp.data + at, name, length)) return true;
        at = end + 1;
    }
    return false;
}

static bool arguments_allowed(const struct policy *p, nsgx_bytes argv) {
    if (p->arguments == ARGUMENTS_ANY) return true;
    if (argv.length < p->argument_bytes || !same(argv.data, p->strings, p->argument_bytes)) return false;
    return p->arguments == ARGUMENTS_PREFIX || (p->arguments == ARGUMENTS_FIXED && argv.length == p->argument_bytes);
}

bool libos_policy_apply(nsgx_bytes argv, nsgx_bytes *envp) {
    const struct policy *p = policy_of_image();
    if (p == NULL) return true;
    if (!arguments_allowed(p, argv)) {
        static const char text[] = "the image does not allow these arguments";
        libos_host_note(text, sizeof text - 1);
        return false;
    }
    if (p->listed == 0) return true;
    const uint8_t *set = p->strings + p->argument_bytes, *pass = set + p->set_bytes;
    if (envp->length > sizeof environment - p->set_bytes) return false;
    for (size_t at = 0; at < envp->length;) {
        size_t end = string_end(envp->data, at, envp->length);
        size_t name = name_length(envp->data + at, end - at);
        if (end == envp->length || name == 0 || !passes(pass, p->pass_bytes, envp->data + at, name)) {
            static const char text[] = "the image does not allow a variable of this environment";
            libos_host_note(text, sizeof text - 1);
            return false;
        }
        at = end + 1;
    }
    size_t length = envp->length;
    memcpy(environment, envp->data, length);
    for (size_t at = 0; at < p->set_bytes;) {
        size_t end = string_end(set, at, p->set_bytes);
        if (!given(*envp, set + at, name_length(set + at, end - at))) {
            memcpy(environment + length, set + at, end + 1 - at);
            length += end + 1 - at;
        }
        at = end + 1;
    }
    *envp = (nsgx_bytes){environment, length};
    return true;
}
