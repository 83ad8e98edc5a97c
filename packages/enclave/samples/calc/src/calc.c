/* The sample of the tour: arithmetic, text, an OCALL, sealing, reports, faults. */
#include <stdio.h>
#include <string.h>

#include "nsgx_interface.h"

void empty(void) {}

int32_t add(int32_t a, int32_t b) { return (int32_t)((uint32_t)a + (uint32_t)b); }

nsgx_string concat(nsgx_string a, nsgx_string b) {
    char *both = nsgx_call_alloc(a.length + b.length);
    if (both == NULL) return nsgx_text("");
    memcpy(both, a.data, a.length);
    memcpy(both + a.length, b.data, b.length);
    return (nsgx_string){both, a.length + b.length};
}

nsgx_string greet(void) {
    nsgx_string name;
    nsgx_status status = host_name(&name);
    if (status != NSGX_OK) {
        nsgx_fail(status);
        return nsgx_text("");
    }
    size_t room = name.length + 64;
    char *text = nsgx_call_alloc(room);
    if (text == NULL) return nsgx_text("");
    snprintf(text, room, "Hello %.*s, from inside the enclave!", (int)name.length, name.data);
    return nsgx_text(text);
}

nsgx_bytes seal(nsgx_bytes data) {
    size_t length = data.length + NSGX_SEAL_OVERHEAD;
    uint8_t *blob = nsgx_call_alloc(length);
    if (blob == NULL) return (nsgx_bytes){data.data, 0};
    nsgx_status status = nsgx_seal(NSGX_POLICY_MRSIGNER, "calc", 4, data.data, data.length, blob);
    if (status != NSGX_OK) {
        nsgx_fail(status);
        length = 0;
    }
    return (nsgx_bytes){blob, length};
}

nsgx_bytes unseal(nsgx_bytes blob) {
    size_t length = 0;
    uint8_t *data = nsgx_call_alloc(blob.length);
    if (data == NULL) return (nsgx_bytes){blob.data, 0};
    nsgx_status status = nsgx_unseal("calc", 4, blob.data, blob.length, data, &length);
    if (status != NSGX_OK) nsgx_fail(status);
    return (nsgx_bytes){data, length};
}

nsgx_bytes report(nsgx_bytes target, nsgx_bytes data) {
    nsgx_targetinfo info;
    nsgx_report made;
    uint8_t *out = nsgx_call_alloc(NSGX_REPORT_SIZE);
    if (out == NULL) return (nsgx_bytes){data.data, 0};
    if (target.length != sizeof info || data.length != 64) {
        nsgx_fail(NSGX_INVALID_ARGUMENT);
        return (nsgx_bytes){out, 0};
    }
    memcpy(&info, target.data, sizeof info);
    nsgx_ereport(&info, data.data, &made);
    memcpy(out, &made, NSGX_REPORT_SIZE);
    return (nsgx_bytes){out, NSGX_REPORT_SIZE};
}

/* The division itself, so that a handler knows where it faulted: IDIV of RAX by RCX is three bytes (48 F7 F9).
 * "memory": what the handler reads must be written before, and stay written until after. */
static int64_t divide_here(int64_t a, int64_t b) {
    int64_t quotient = a, rest;
    __asm__ volatile("cqo; idivq %2" : "+a"(quotient), "=&d"(rest) : "c"(b) : "cc", "memory");
    return quotient;
}

/* Division by zero raises #DE; without a handler the enclave ends. */
int32_t divide(int32_t a, int32_t b) { return (int32_t)divide_here(a, b); }

static _Thread_local bool guarded;
static _Thread_local int32_t replacement;

static nsgx_handled on_exception(nsgx_exception *exception) {
    uint64_t rip = exception->registers.rip;
    /* INT3 is a fault inside an enclave, #UD unless a debugger has opted in: RIP is at the INT3. */
    if (exception->vector == NSGX_VECTOR_BP ||
        (exception->vector == NSGX_VECTOR_UD && *(const volatile uint8_t *)rip == 0xcc)) {
        exception->registers.rip = rip + 1;
        return NSGX_CONTINUE;
    }
    if (exception->vector != NSGX_VECTOR_DE || !guarded) return NSGX_PASS;
    exception->registers.rax = (uint64_t)(int64_t)replacement;
    exception->registers.rip += 3;
    return NSGX_CONTINUE;
}

static void install_handler(void) {
    static nsgx_lock lock;
    static bool installed;
    nsgx_lock_acquire(&lock);
    if (!installed) installed = nsgx_on_exception(on_exception);
    nsgx_lock_release(&lock);
}

int32_t divide_or(int32_t a, int32_t b, int32_t fallback) {
    install_handler();
    replacement = fallback;
    guarded = true;
    int64_t quotient = divide_here(a, b);
    guarded = false;
    return (int32_t)quotient;
}

nsgx_bytes echo(nsgx_bytes data) { return data; }

double mean(double a, double b) { return (a + b) / 2; }

void call_host(uint64_t times) {
    for (uint64_t i = 0; i < times; i++) {
        nsgx_status status = host_nothing();
        if (status != NSGX_OK) {
            nsgx_fail(status);
            return;
        }
    }
}

void get_key(uint64_t times) {
    nsgx_keyrequest request;
    uint8_t key[16];
    memset(&request, 0, sizeof request);
    request.key_name = NSGX_KEY_SEAL;
    request.key_policy = NSGX_POLICY_MRENCLAVE;
    for (uint64_t i = 0; i < times; i++) {
        uint64_t code = nsgx_egetkey(&request, key);
        if (code != 0) nsgx_fail((uint32_t)code);
    }
    nsgx_wipe(key, sizeof key);
}

void make_report(uint64_t times) {
    nsgx_targetinfo target;
    nsgx_report made;
    uint8_t data[64] = {0};
    memset(&target, 0, sizeof target);
    for (uint64_t i = 0; i < times; i++) nsgx_ereport(&target, data, &made);
}

/* Reads the first page of the enclave, which is never added: #PF. */
void fault_page(void) {
    extern const volatile uint8_t __image_base[];
    (void)__image_base[0];
}

/* INT3 with a handler that goes on: AEX, EENTER, EEXIT, ERESUME for each. */
void breakpoint(uint64_t times) {
    install_handler();
    for (uint64_t i = 0; i < times; i++) __asm__ volatile("int3");
}

/* Stays inside for a while. */
uint64_t spin(uint64_t rounds) {
    uint64_t value = 0;
    for (uint64_t i = 0; i < rounds; i++) {
        __asm__ volatile("" : "+r"(value));
        value++;
    }
    return value;
}
