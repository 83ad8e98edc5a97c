/* Calls out. The answer of a host is copied once, and its lengths and results are checked before they are used. */
#include "libos.h"
#include "nsgx_crypto.h"
#include "nsgx_interface.h"
#include "nsgx_message.h"

enum { CALL_WRITE, CALL_READ, CALL_ROOT, CALL_CLOCK, CALL_WAIT, CALL_NOTE };

#define EIO 5
#define EFAULT 14
#define ERRNO_LIMIT 4095
/* Bytes of one transfer. */
#define PIECE 65536u

static uint8_t piece[PIECE];
static struct {
    uint64_t length; /* of the data that follow, as messages have it */
    uint8_t data[PIECE + 16];
} answer;

/* One call; true when the answer's form is right. `answer` then holds it, and `got` its bytes. */
static bool call(uint32_t index, nsgx_writer *request, size_t *got) {
    size_t length = sizeof answer;
    nsgx_status status = nsgx_ocall_into(index, request, &answer, &length);
    nsgx_writer_free(request);
    *got = length;
    return status == NSGX_OK;
}

/* The same, for an answer of type bytes: checks the length that stands before them. */
static bool call_bytes(uint32_t index, nsgx_writer *request, size_t *bytes) {
    size_t got;
    if (!call(index, request, &got) || got < 8 || answer.length > sizeof answer.data ||
        ((answer.length + 7) & ~7ull) != got - 8)
        return false;
    *bytes = answer.length;
    return true;
}

int64_t libos_host_write(uint32_t fd, uint64_t user, uint64_t length) {
    if (length > PIECE) length = PIECE;
    if (!libos_in_user(user, length) || !libos_guarded_copy(piece, (const void *)user, length)) return -EFAULT;
    nsgx_writer request;
    size_t got;
    nsgx_writer_start(&request);
    nsgx_write_u32(&request, fd);
    nsgx_write_bytes(&request, (nsgx_bytes){piece, length});
    if (!call(CALL_WRITE, &request, &got) || got != 8) return -EIO;
    int64_t result = (int64_t)answer.length;
    return result > (int64_t)length || result < -ERRNO_LIMIT ? -EIO : result;
}

/* The answer begins with the result; data follow when it is positive. */
int64_t libos_host_read(uint32_t fd, uint64_t user, uint64_t length) {
    if (length > PIECE) length = PIECE;
    if (!libos_in_user(user, length)) return -EFAULT;
    nsgx_writer request;
    size_t bytes;
    nsgx_writer_start(&request);
    nsgx_write_u32(&request, fd);
    nsgx_write_u32(&request, (uint32_t)length);
    if (!call_bytes(CALL_READ, &request, &bytes) || bytes < 8) return -EIO;
    int64_t result;
    memcpy(&result, answer.data, 8);
    if (result < -ERRNO_LIMIT || result > (int64_t)length || (result > 0 && (uint64_t)result != bytes - 8)) return -EIO;
    if (result > 0 && !libos_guarded_copy((void *)user, answer.data + 8, (size_t)result)) return -EFAULT;
    return result;
}

/* A block of the root: what has not the measured digest is an error, and stays outside. */
int64_t libos_host_root(uint64_t offset, uint32_t length, uint8_t *to, const uint8_t digest[32]) {
    if (length > PIECE) return -EIO;
    nsgx_writer request;
    size_t bytes;
    uint8_t found[32];
    nsgx_writer_start(&request);
    nsgx_write_u64(&request, offset);
    nsgx_write_u32(&request, length);
    if (!call_bytes(CALL_ROOT, &request, &bytes) || bytes != length) return -EIO;
    nsgx_sha256(answer.data, length, found);
    if (!nsgx_equal(found, digest, 32)) {
        static const char text[] = "a block of the root is not the one that was measured";
        libos_host_note(text, sizeof text - 1);
        return -EIO;
    }
    memcpy(to, answer.data, length);
    return 0;
}

int64_t libos_host_wait(uint32_t fds, int64_t timeout_ms) {
    nsgx_writer request;
    size_t got;
    nsgx_writer_start(&request);
    nsgx_write_u32(&request, fds);
    nsgx_write_i64(&request, timeout_ms);
    if (!call(CALL_WAIT, &request, &got) || got != 8) return -EIO;
    return (int64_t)(answer.length & fds);
}

void libos_host_note(const char *text, size_t length) {
    nsgx_writer request;
    size_t got;
    nsgx_writer_start(&request);
    nsgx_write_bytes(&request, (nsgx_bytes){(const uint8_t *)text, length});
    call(CALL_NOTE, &request, &got);
}

/* Nanoseconds since 1970, and of a clock that only runs forward. */
bool libos_host_clock(uint64_t now[2]) {
    nsgx_writer request;
    size_t bytes;
    nsgx_writer_start(&request);
    if (!call_bytes(CALL_CLOCK, &request, &bytes) || bytes != 16) return false;
    memcpy(now, answer.data, 16);
    return true;
}
