/* The core's requests for descriptors of the host: from its vectors of the program's memory to a channel's data and back.
 * Lengths, counts and results that the host gives are checked against what was asked. */
#include "channel.h"
#include "later.h"
#include "leave.h"
#include "libos.h"
#include "task.h"
#include "transport.h"

/* core/net/host.ts */
enum {
    OP_READ = 32, /* descriptor, user, length, wait */
    OP_WRITE,
    OP_RECEIVE,   /* descriptor, area, count, wait, flags, how much is done already */
    OP_SEND,      /* the same; in the upper half of the flags the length of the address */
    OP_POLL,      /* area, count, wait */
    OP_EPOLL_WAIT, /* descriptor, area, count, wait */
    OP_EPOLL_CTL, /* descriptor, operation, other, events, data */
    OP_ACCEPT,    /* descriptor, area, wait */
    OP_CLOSE,     /* descriptor */
    OP_SHUTDOWN,  /* descriptor, how */
    OP_NET,       /* area, operation, descriptor, a, b, length of the data in the area */
    OP_PREAD = 61, /* descriptor, user, length, position, whether `user` is an address of the core's */
    OP_PWRITE     /* descriptor, user, length, position */
};

/* An area of the core: vectors, pollfds or events; behind them an address and its length. */
#define AREA_LISTS 16384u
#define AREA_ADDRESS AREA_LISTS
#define AREA_LENGTH (AREA_LISTS + LIBOS_ADDRESS_ROOM)
#define AREA (AREA_LENGTH + 8)
#define VECTORS 1024u

#define EIO 5
#define EFAULT 14
#define EINVAL 22
#define MSG_TRUNC 0x20
/* Flags of which nothing depends here: what they say of waiting and of SIGPIPE is the core's. */
#define RECEIVE_SAME (MSG_DONTWAIT | MSG_CLOEXEC)
#define SEND_SAME (MSG_DONTWAIT | MSG_NOSIGNAL)
#define MSG_DONTWAIT 0x40
#define MSG_NOSIGNAL 0x4000
#define MSG_CLOEXEC 0x40000000
/* Flags of the core's: no socket; bytes of the area itself, as many as are "done". */
#define PLAIN 0x80000000ull
#define OWN 0x8000000000000000ull
#define OWN_ROOM 16384u
#define ERRNO_LIMIT 4095

struct vector {
    uint64_t base, length;
};

static int64_t io(uint32_t op, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t wait) {
    const uint64_t arguments[6] = {a, b, c, d, e, 0};
    return wait == 0 ? libos_io(op, arguments) : libos_io_waiting(op, arguments);
}

/* A result that may be at most `most`. */
static int64_t checked(int64_t result, uint64_t most) {
    return result < -ERRNO_LIMIT || (result > 0 && (uint64_t)result > most) ? -EIO : result;
}

static uint64_t room(uint64_t length) { return length < LIBOS_CHANNEL_ROOM ? length : LIBOS_CHANNEL_ROOM; }

static int64_t read_to(uint64_t fd, uint64_t user, uint64_t length, uint64_t wait) {
    length = room(length);
    if (!libos_in_user(user, length)) return -EFAULT;
    uint64_t part;
    const uint8_t *ahead = libos_ahead(fd, length, &part);
    if (ahead != NULL) return libos_guarded_copy((void *)user, ahead, part) ? (int64_t)part : -EFAULT;
    bool known = libos_ahead_reads(fd);
    int64_t got = checked(io(IO_READ, fd, length, wait, 0, 0, wait), length);
    if (known) libos_ahead_has_read(fd);
    if (got > 0 && !libos_guarded_copy((void *)user, libos_io_data(), (size_t)got)) return -EFAULT;
    return got;
}

static int64_t write_from(uint64_t fd, uint64_t user, uint64_t length, uint64_t wait) {
    length = room(length);
    if (!libos_in_user(user, length)) return -EFAULT;
    uint8_t *later = libos_later_room(fd, length);
    if (length > 0 && !libos_guarded_copy(later != NULL ? later : libos_io_data(), (const void *)user, length)) return -EFAULT;
    if (later != NULL) {
        libos_later_send(fd, length);
        return (int64_t)length;
    }
    return checked(io(IO_WRITE, fd, length, wait, 0, 0, wait), length);
}

/* Bytes at a position of a file, to the program or to `own` memory of the core. */
static int64_t read_at(const uint64_t a[6], uint8_t *own) {
    uint64_t length = room(a[2]);
    if (own == NULL && !libos_in_user(a[1], length)) return -EFAULT;
    int64_t got = checked(io(IO_PREAD, a[0], length, a[3], 0, 0, 0), length);
    if (got <= 0) return got;
    if (own != NULL) memcpy(own, libos_io_data(), (size_t)got);
    else if (!libos_guarded_copy((void *)a[1], libos_io_data(), (size_t)got)) return -EFAULT;
    return got;
}

static int64_t write_at(const uint64_t a[6]) {
    uint64_t length = room(a[2]);
    if (!libos_in_user(a[1], length)) return -EFAULT;
    if (length > 0 && !libos_guarded_copy(libos_io_data(), (const void *)a[1], length)) return -EFAULT;
    return checked(io(IO_PWRITE, a[0], length, a[3], 0, 0, 0), length);
}

/* Moves up to `length` bytes between untrusted data and the vectors from byte `skip` on; how many, or -EFAULT. */
static int64_t move(const struct vector *list, uint64_t count, uint64_t skip, uint64_t length, bool out, uint8_t *data) {
    uint64_t moved = 0;
    for (uint64_t i = 0; i < count && moved < length; i++) {
        struct vector v = list[i];
        if (skip >= v.length) {
            skip -= v.length;
            continue;
        }
        uint64_t part = v.length - skip < length - moved ? v.length - skip : length - moved;
        uint64_t at = v.base + skip;
        skip = 0;
        if (!libos_in_user(at, part)) return moved > 0 && out ? (int64_t)moved : -EFAULT;
        bool copied = out ? libos_guarded_copy(data + moved, (const void *)at, part)
                          : libos_guarded_copy((void *)at, data + moved, part);
        if (!copied) return -EFAULT;
        moved += part;
    }
    return (int64_t)moved;
}

static uint64_t total(const struct vector *list, uint64_t count) {
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) sum += list[i].length;
    return sum;
}

static void put_length(uint8_t *area, uint32_t length) { memcpy(area + AREA_LENGTH, &length, 4); }

static int64_t receive(const uint64_t a[6], uint8_t *area) {
    const struct vector *list = (const struct vector *)area;
    uint64_t length = room(total(list, a[2]) - a[5]);
    if (a[4] & PLAIN) {
        int64_t plain = checked(io(IO_READ, a[0], length, a[3], 0, 0, a[3]), length);
        int64_t copied = plain > 0 ? move(list, a[2], a[5], (uint64_t)plain, false, libos_io_data()) : 0;
        return copied < 0 ? copied : plain;
    }
    uint64_t part;
    const uint8_t *ahead = (a[4] & ~(uint64_t)RECEIVE_SAME) == 0 ? libos_ahead(a[0], length, &part) : NULL;
    if (ahead != NULL) {
        put_length(area, 0);
        return move(list, a[2], a[5], part, false, (uint8_t *)ahead);
    }
    /* With MSG_TRUNC the answer is how long a datagram was. */
    uint64_t most = a[4] & MSG_TRUNC ? 0x10000 : length;
    bool known = libos_ahead_reads(a[0]);
    int64_t got = checked(io(IO_RECVFROM, a[0], length, a[3], a[4], 0, a[3]), most);
    if (known) libos_ahead_has_read(a[0]);
    if (got < 0) return got;
    put_length(area, libos_io_address(area + AREA_ADDRESS));
    int64_t moved = move(list, a[2], a[5], (uint64_t)got < length ? (uint64_t)got : length, false, libos_io_data());
    return moved < 0 ? moved : got;
}

static int64_t deliver(const uint64_t a[6], uint8_t *area) {
    const struct vector *list = (const struct vector *)area;
    uint64_t address = a[4] & OWN ? 0 : a[4] >> 32;
    int64_t length;
    if (a[4] & OWN) {
        length = (int64_t)(a[5] < OWN_ROOM ? a[5] : OWN_ROOM);
        memcpy(libos_io_data(), area, (uint64_t)length);
    } else {
        uint64_t all = room(total(list, a[2]) - a[5]);
        uint8_t *later = address == 0 && (a[4] & ~(uint64_t)SEND_SAME) == 0 ? libos_later_room(a[0], all) : NULL;
        length = move(list, a[2], a[5], LIBOS_CHANNEL_ROOM, true, later != NULL ? later : libos_io_data());
        if (later != NULL && length > 0) {
            libos_later_send(a[0], (uint64_t)length);
            return length;
        }
    }
    if (length < 0) return length;
    if (a[4] & PLAIN) return checked(io(IO_WRITE, a[0], (uint64_t)length, a[3], 0, 0, a[3]), (uint64_t)length);
    if (address > LIBOS_ADDRESS_ROOM) return -EINVAL;
    if (address > 0) libos_io_put_address(area + AREA_ADDRESS, (uint32_t)address);
    return checked(io(IO_SENDTO, a[0], (uint64_t)length, a[3], a[4] & 0x7fffffff, address, a[3]), (uint64_t)length);
}

static int64_t poll(const uint64_t a[6], uint8_t *area) {
    uint64_t bytes = a[1] * sizeof(struct libos_pollfd);
    memcpy(libos_io_data(), area, bytes);
    int64_t ready = checked(io(IO_POLL, a[1], a[2], 0, 0, 0, a[2]), a[1]);
    if (ready < 0) return ready;
    /* Only what became of each is taken; whom it is about stays. */
    for (uint64_t i = 0; i < a[1]; i++)
        memcpy(area + i * 8 + 6, libos_io_data() + i * 8 + 6, 2);
    return ready;
}

static int64_t epoll_wait(const uint64_t a[6], uint8_t *area) {
    bool ahead = libos_ahead_wanted();
    int64_t count = checked(io(IO_EPOLL_WAIT, a[0], a[2], a[3], ahead, 0, a[3]), a[2]);
    if (count > 0) memcpy(area, libos_io_data(), (uint64_t)count * sizeof(struct libos_event));
    /* The upper half is for the host. */
    for (int64_t i = 0; i < count; i++) memset(area + i * (int64_t)sizeof(struct libos_event) + 8, 0, 4);
    if (ahead && count > 0) libos_ahead_seen();
    return count;
}

static int64_t accept(const uint64_t a[6], uint8_t *area) {
    int64_t fd = checked(io(IO_ACCEPT, a[0], a[2], 0, 0, 0, a[2]), INT32_MAX);
    if (fd >= 0) {
        put_length(area, libos_io_address(area + AREA_ADDRESS));
        libos_later_connection((uint64_t)fd);
    }
    return fd;
}

/* By the channel, what C may decide; by core/net/host.ts's number. */
static const uint8_t control_of[] = {
    [5] = CONTROL_GETSOCKNAME, [6] = CONTROL_GETPEERNAME, [7] = CONTROL_SETSOCKOPT, [8] = CONTROL_GETSOCKOPT, [10] = CONTROL_QUEUED,
};

static uint32_t control_number(uint64_t operation) { return operation < sizeof control_of ? control_of[operation] : 0; }

/* What the call out below is about. */
static struct {
    const uint64_t *a;
    uint8_t *area;
    int64_t result;
} asked[LIBOS_CHANNELS];

static void ask_policy(uint32_t slot) {
    const uint64_t *a = asked[slot].a;
    uint8_t *area = asked[slot].area;
    uint32_t length = LIBOS_CONTROL_ROOM;
    int64_t result = libos_leave_for_net((uint32_t)a[1], (uint32_t)a[2], (int64_t)a[3], (int64_t)a[4], area, (uint32_t)a[5], area, &length);
    put_length(area, result < 0 ? 0 : length);
    asked[slot].result = result;
}

static int64_t net(const uint64_t a[6], uint8_t *area) {
    uint32_t slot = libos_slot(), control = control_number(a[1]);
    if (a[5] > LIBOS_CONTROL_ROOM) return -EINVAL;
    if (control != 0) {
        bool names = control == CONTROL_GETSOCKNAME || control == CONTROL_GETPEERNAME;
        uint64_t most = control == CONTROL_SETSOCKOPT ? 0 : control == CONTROL_QUEUED ? INT32_MAX : names ? LIBOS_ADDRESS_ROOM : a[5];
        memcpy(libos_io_data(), area, a[5]);
        int64_t result = io(IO_CONTROL, a[2], control, a[3], a[4], names ? LIBOS_ADDRESS_ROOM : a[5], 0);
        if (result != IO_ASK) {
            result = checked(result, most);
            uint32_t length = result > 0 && control != CONTROL_QUEUED ? (uint32_t)result : 0;
            memcpy(area, libos_io_data(), length);
            put_length(area, length);
            return result;
        }
    }
    asked[slot].a = a;
    asked[slot].area = area;
    libos_call_out(ask_policy, slot);
    return asked[slot].result;
}

bool libos_by_channel(uint64_t op) { return (op >= OP_READ && op <= OP_NET) || op == OP_PREAD || op == OP_PWRITE; }

int64_t libos_serve_io(uint64_t op, const uint64_t a[6], uint8_t *memory, uint64_t size) {
    uint64_t at = op == OP_POLL || op == OP_NET ? a[0] : a[1];
    uint64_t count = op == OP_POLL ? a[1] : a[2];
    uint8_t *area = memory + at;
    bool lists = op >= OP_RECEIVE && op != OP_EPOLL_CTL && op != OP_CLOSE && op != OP_SHUTDOWN && op < OP_PREAD;
    if (lists && (at > size || size - at < AREA || (op <= OP_EPOLL_WAIT && count > VECTORS)))
        libos_die("the core asked with a list that is not there", op);
    switch (op) {
        case OP_READ:
            return read_to(a[0], a[1], a[2], a[3]);
        case OP_WRITE:
            return write_from(a[0], a[1], a[2], a[3]);
        case OP_RECEIVE:
            return receive(a, area);
        case OP_SEND:
            return deliver(a, area);
        case OP_POLL:
            return poll(a, area);
        case OP_EPOLL_WAIT:
            return epoll_wait(a, area);
        case OP_EPOLL_CTL:
            if (libos_later_watch(a[0], a[1], a[2], a[3], a[4])) return 0;
            return checked(io(IO_EPOLL_CTL, a[0], a[1], a[2], a[3], (uint32_t)a[4] | (uint64_t)libos_later_name(a[2]) << 32, 0), 0);
        case OP_ACCEPT:
            return accept(a, area);
        case OP_CLOSE:
            if (libos_later_close(a[0])) return 0;
            return checked(io(IO_CLOSE, a[0], 0, 0, 0, 0, 0), 0);
        case OP_SHUTDOWN:
            return checked(io(IO_SHUTDOWN, a[0], a[1], 0, 0, 0, 0), 0);
        case OP_NET:
            return net(a, area);
        case OP_PREAD:
            if (a[4] != 0 && (at > size || size - at < room(a[2]))) libos_die("the core asked for bytes where it has none", at);
            return read_at(a, a[4] != 0 ? area : NULL);
        case OP_PWRITE:
            return write_at(a);
        default:
            libos_die("the core asked for something unknown", op);
    }
}
