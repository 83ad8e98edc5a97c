/* Calls out. The answer of a host is copied once, and its lengths and results are checked before they are used. */
#include <stdlib.h>

#include "attestation.h"
#include "libos.h"
#include "nsgx_crypto.h"
#include "nsgx_interface.h"
#include "nsgx_message.h"
#include "task.h"
#include "transport.h"

enum { CALL_WRITE, CALL_READ, CALL_ROOT, CALL_CLOCK, CALL_WAIT, CALL_NOTE, CALL_PARK, CALL_UNPARK, CALL_THREAD, CALL_EXIT };
/* Behind those of transport/ocall.c. */
enum { CALL_INTERRUPT = 13, CALL_ALARM, CALL_PAGES = 17, CALL_FILES, CALL_ATTEST, CALL_STOPPED, CALL_PROVISION };

#define EIO 5
#define EFAULT 14
#define ERRNO_LIMIT 4095
/* Bytes of one transfer. */
#define PIECE 65536u

/* Of each thread: calls of several go on at the same time. */
struct io {
    uint8_t piece[PIECE];
    struct {
        uint64_t length; /* of the data that follow, as messages have it */
        uint8_t data[PIECE + 16];
    } answer;
};

static struct io *io_of_thread(void) {
    static struct io *of[LIBOS_THREADS];
    uint32_t slot = libos_slot();
    if (of[slot] == NULL) of[slot] = malloc(sizeof **of);
    if (of[slot] == NULL) nsgx_abort();
    return of[slot];
}

/* One call; true when the answer's form is right. `io->answer` then holds it, and `got` its bytes. */
static bool call(struct io *io, uint32_t index, nsgx_writer *request, size_t *got) {
    size_t length = sizeof io->answer;
    nsgx_status status = nsgx_ocall_into(index, request, &io->answer, &length);
    nsgx_writer_free(request);
    *got = length;
    return status == NSGX_OK;
}

/* The same, for an answer of type bytes: checks the length that stands before them. */
static bool call_bytes(struct io *io, uint32_t index, nsgx_writer *request, size_t *bytes) {
    size_t got;
    if (!call(io, index, request, &got) || got < 8 || io->answer.length > sizeof io->answer.data ||
        ((io->answer.length + 7) & ~7ull) != got - 8)
        return false;
    *bytes = io->answer.length;
    return true;
}

int64_t libos_host_write(uint32_t fd, uint64_t user, uint64_t length) {
    struct io *io = io_of_thread();
    if (length > PIECE) length = PIECE;
    if (!libos_in_user(user, length) || !libos_guarded_copy(io->piece, (const void *)user, length)) return -EFAULT;
    nsgx_writer request;
    size_t got;
    nsgx_writer_start(&request);
    nsgx_write_u32(&request, fd);
    nsgx_write_bytes(&request, (nsgx_bytes){io->piece, length});
    if (!call(io, CALL_WRITE, &request, &got) || got != 8) return -EIO;
    int64_t result = (int64_t)io->answer.length;
    return result > (int64_t)length || result < -ERRNO_LIMIT ? -EIO : result;
}

bool libos_host_pages(uint32_t operation, uint64_t offset, uint64_t length) {
    struct io *io = io_of_thread();
    nsgx_writer request;
    size_t got;
    nsgx_writer_start(&request);
    nsgx_write_u32(&request, operation);
    nsgx_write_u64(&request, offset);
    nsgx_write_u64(&request, length);
    return call(io, CALL_PAGES, &request, &got) && got == 8 && io->answer.length == 0;
}

/* The answer begins with the result; data follow when it is positive. */
int64_t libos_host_read(uint32_t fd, uint64_t user, uint64_t length) {
    if (length > PIECE) length = PIECE;
    if (!libos_in_user(user, length)) return -EFAULT;
    struct io *io = io_of_thread();
    nsgx_writer request;
    size_t bytes;
    nsgx_writer_start(&request);
    nsgx_write_u32(&request, fd);
    nsgx_write_u32(&request, (uint32_t)length);
    if (!call_bytes(io, CALL_READ, &request, &bytes) || bytes < 8) return -EIO;
    int64_t result;
    memcpy(&result, io->answer.data, 8);
    if (result < -ERRNO_LIMIT || result > (int64_t)length || (result > 0 && (uint64_t)result != bytes - 8)) return -EIO;
    if (result > 0 && !libos_guarded_copy((void *)user, io->answer.data + 8, (size_t)result)) return -EFAULT;
    return result;
}

/* A block of the root: what has not the measured digest is an error, and stays outside. */
int64_t libos_host_root(uint64_t offset, uint32_t length, uint8_t *to, const uint8_t digest[32]) {
    if (length > PIECE) return -EIO;
    struct io *io = io_of_thread();
    nsgx_writer request;
    size_t bytes;
    uint8_t found[32];
    nsgx_writer_start(&request);
    nsgx_write_u64(&request, offset);
    nsgx_write_u32(&request, length);
    if (!call_bytes(io, CALL_ROOT, &request, &bytes) || bytes != length) return -EIO;
    nsgx_sha256(io->answer.data, length, found);
    if (!nsgx_equal(found, digest, 32)) {
        static const char text[] = "a block of the root is not the one that was measured";
        libos_host_note(text, sizeof text - 1);
        return -EIO;
    }
    memcpy(to, io->answer.data, length);
    return 0;
}

int64_t libos_host_wait(uint32_t fds, int64_t timeout_ms) {
    struct io *io = io_of_thread();
    nsgx_writer request;
    size_t got;
    nsgx_writer_start(&request);
    nsgx_write_u32(&request, fds);
    nsgx_write_i64(&request, timeout_ms);
    if (!call(io, CALL_WAIT, &request, &got) || got != 8) return -EIO;
    return (int64_t)(io->answer.length & fds);
}

void libos_host_note(const char *text, size_t length) {
    struct io *io = io_of_thread();
    nsgx_writer request;
    size_t got;
    nsgx_writer_start(&request);
    nsgx_write_bytes(&request, (nsgx_bytes){(const uint8_t *)text, length});
    call(io, CALL_NOTE, &request, &got);
}

/* Nanoseconds since 1970, and of a clock that only runs forward. */
bool libos_host_clock(uint64_t now[2]) {
    struct io *io = io_of_thread();
    nsgx_writer request;
    size_t bytes;
    nsgx_writer_start(&request);
    if (!call_bytes(io, CALL_CLOCK, &request, &bytes) || bytes != 16) return false;
    memcpy(now, io->answer.data, 16);
    return true;
}

/* Of the waits here the host is believed nothing: whoever has waited looks for himself. */
void libos_host_park(uint32_t slot, int64_t timeout_ns) {
    if (slot < LIBOS_THREADS) {
        const uint64_t arguments[6] = {(uint64_t)timeout_ns};
        libos_io(IO_PARK, arguments);
        return;
    }
    struct io *io = io_of_thread();
    nsgx_writer request;
    size_t got;
    nsgx_writer_start(&request);
    nsgx_write_u32(&request, slot);
    nsgx_write_i64(&request, timeout_ns);
    call(io, CALL_PARK, &request, &got);
}

void libos_host_yield(void) { libos_host_park(libos_slot(), 0); }

/* Asks for an interrupt of the threads that are inside, so that they look for signals. */
void libos_host_interrupt(uint32_t unused) {
    (void)unused;
    nsgx_writer request;
    size_t got;
    nsgx_writer_start(&request);
    call(io_of_thread(), CALL_INTERRUPT, &request, &got);
}

/* Asks for a call of `attend` in so many microseconds. */
void libos_host_alarm(uint32_t microseconds) {
    nsgx_writer request;
    size_t got;
    nsgx_writer_start(&request);
    nsgx_write_u32(&request, microseconds);
    call(io_of_thread(), CALL_ALARM, &request, &got);
}

void libos_host_stopped(uint32_t unused) {
    (void)unused;
    nsgx_writer request;
    size_t got;
    nsgx_writer_start(&request);
    call(io_of_thread(), CALL_STOPPED, &request, &got);
}

void libos_host_unpark(uint32_t slot) {
    const uint64_t arguments[6] = {slot};
    libos_io(IO_UNPARK, arguments);
}

/* Asks for a thread of the host that enters for this slot. */
bool libos_host_thread(uint32_t slot) {
    struct io *io = io_of_thread();
    nsgx_writer request;
    size_t got;
    nsgx_writer_start(&request);
    nsgx_write_u32(&request, slot);
    return call(io, CALL_THREAD, &request, &got) && got == 8 && io->answer.length == 0;
}

/* An area of the core: the request, then the answer without its result, and behind them how many bytes that has. */
#define FILES_ROOM 65536u

int64_t libos_serve_files(const uint64_t a[6], uint8_t *memory, uint64_t size) {
    if (a[0] > size || size - a[0] < FILES_ROOM + 8 || a[5] > FILES_ROOM)
        libos_die("the core asked for files with an area that is not there", a[0]);
    uint8_t *area = memory + a[0];
    struct io *io = io_of_thread();
    nsgx_writer request;
    size_t bytes;
    uint32_t length = 0;
    int64_t result = -EIO;
    nsgx_writer_start(&request);
    nsgx_write_u32(&request, (uint32_t)a[1]);
    nsgx_write_i64(&request, (int64_t)a[2]);
    nsgx_write_i64(&request, (int64_t)a[3]);
    nsgx_write_i64(&request, (int64_t)a[4]);
    nsgx_write_bytes(&request, (nsgx_bytes){area, a[5]});
    if (call_bytes(io, CALL_FILES, &request, &bytes) && bytes >= 8 && bytes - 8 <= FILES_ROOM) {
        memcpy(&result, io->answer.data, 8);
        if (result < -ERRNO_LIMIT || result > INT32_MAX) result = -EIO;
        if (result >= 0) {
            length = (uint32_t)bytes - 8;
            memcpy(area, io->answer.data + 8, length);
        }
    }
    memcpy(area + FILES_ROOM, &length, 4);
    return result;
}

/* A call that carries bytes there and back; how many came, 0 for none or too many. */
static size_t exchange(uint32_t index, const uint8_t *message, size_t length, uint8_t *to, size_t room) {
    struct io *io = io_of_thread();
    nsgx_writer request;
    size_t bytes;
    nsgx_writer_start(&request);
    nsgx_write_bytes(&request, (nsgx_bytes){(uint8_t *)message, length});
    if (!call_bytes(io, index, &request, &bytes) || bytes > room) return 0;
    memcpy(to, io->answer.data, bytes);
    return bytes;
}

size_t libos_host_attest(const uint8_t *report, size_t length, uint8_t *to, size_t room) {
    return exchange(CALL_ATTEST, report, length, to, room);
}

size_t libos_host_provision(const uint8_t *message, size_t length, uint8_t *to, size_t room) {
    return exchange(CALL_PROVISION, message, length, to, room);
}

/* The program is over: its host is told how it ended. */
_Noreturn void libos_host_exit(int32_t status) {
    for (;;) {
        struct io *io = io_of_thread();
        nsgx_writer request;
        size_t got;
        nsgx_writer_start(&request);
        nsgx_write_u32(&request, (uint32_t)status);
        call(io, CALL_EXIT, &request, &got);
        libos_host_park(LIBOS_THREADS, -1);
    }
}
