/* Blocks of the store, and its two roots. A block is AES-256-GCM under an IV that is never used again; who refers to it
 * keeps IV and tag, up to the root, which has an HMAC: so blocks cannot be changed, exchanged or replayed one by one. A commit
 * writes blocks where the last one has none, then the older of the two roots. Both become durable together: a root names
 * the positions that were written with it, and is only taken for the last one when they are whole; a large commit has its
 * blocks durable first. File: positions of 16 KiB; the first holds the roots. An older file as a whole is told by its
 * version alone: see docs/LIBOS.md. */
#include "store.h"

#include <stddef.h>
#include <stdlib.h>

#include "core.h"
#include "libos.h"
#include "nsgx_crypto.h"
#include "nsgx_message.h"
#include "provision.h"
#include "store-key.h"
#include "task.h"
#include "transport.h"

/* Positions in src/run/interface.ts. */
enum { CALL_STORE_OPEN = 15, CALL_STORE_SYNC };
/* core/fs/stored.ts */
enum { STATE_WORKING = 1, STATE_DONE };
#define BLOCK 16384u
#define FANOUT 409u
#define BATCH (LIBOS_CHANNEL_ROOM / BLOCK)
#define ROOT_STRIDE 8192u
#define FORMAT 2
#define EIO 5

struct reference {
    uint64_t position;
    uint32_t length;
    uint8_t iv[12];
    uint8_t tag[16];
};

struct root {
    char magic[8];
    uint32_t format;
    struct libos_key_choice key;
    uint64_t version, size;
    struct reference top;
    uint32_t ranges, unused; /* of positions that were written with it, and may not be there; 0: all are */
    uint8_t mac[32];
};

/* Blocks of a commit that becomes durable in one go: as many as are soon read again at the next start. */
#define MOST_AT_ONCE 256u
struct range {
    uint32_t first, count;
};

/* As it lies outside. */
struct whole_root {
    struct root head;
    struct range list[MOST_AT_ONCE];
};
_Static_assert(sizeof(struct whole_root) <= ROOT_STRIDE, "room of a root");

struct plan {
    uint32_t state;
    int32_t result;
    uint32_t count, top;
    uint64_t size;
    uint32_t early, unused; /* whether it refers to blocks that went out before */
    struct {
        uint32_t from, length, reference, also;
        uint64_t position;
    } item[];
};

w2c_core *libos_core(void);

static const char MAGIC[8] = {'N', 'S', 'G', 'X', 'S', 'T', 'O', 'R'};
static struct root root; /* of the last commit */
static uint64_t host_fd, counter, first_version;
static bool host_asked; /* the host wants to be asked for durability */
static uint8_t block_key[32], mac_key[32], *batch;
static bool broken, quiet;

static void say(const char *text) {
    size_t length = 0;
    while (text[length] != 0) length++;
    libos_host_note(text, length);
}

static bool get_keys(const struct root *r) {
    uint8_t both[64];
    if (!libos_store_keys(&r->key, both)) return false;
    memcpy(block_key, both, 32);
    memcpy(mac_key, both + 32, 32);
    nsgx_wipe(both, sizeof both);
    return true;
}

static void root_mac(const struct whole_root *r, uint8_t mac[32]) {
    struct whole_root copy = *r;
    memset(copy.head.mac, 0, sizeof copy.head.mac);
    nsgx_hmac_sha256(mac_key, sizeof mac_key, &copy, sizeof copy.head + copy.head.ranges * sizeof copy.list[0], mac);
}

static bool transfer(uint32_t op, uint64_t length, uint64_t at) {
    const uint64_t arguments[6] = {host_fd, length, at};
    return libos_io(op, arguments) == (int64_t)length;
}

/* Of version 0: what was written is to be durable. Else the host is told of the last commit. */
static bool host_call(uint64_t version, const uint8_t mac[32]) {
    struct {
        int64_t result;
    } answer;
    size_t length = sizeof answer;
    nsgx_writer request;
    nsgx_writer_start(&request);
    nsgx_write_u64(&request, version);
    nsgx_write_bytes(&request, (nsgx_bytes){(uint8_t *)mac, version == 0 ? 0 : 32});
    nsgx_status status = nsgx_ocall_into(CALL_STORE_SYNC, &request, &answer, &length);
    nsgx_writer_free(&request);
    return status == NSGX_OK && length == sizeof answer && answer.result == 0;
}

static bool make_durable(void) {
    const uint64_t arguments[6] = {host_fd};
    return host_asked ? host_call(0, root.mac) : libos_io(IO_SYNC, arguments) == 0;
}

static void next_iv(uint8_t iv[12]) {
    static uint8_t prefix[8];
    uint32_t low = (uint32_t)counter;
    /* A prefix for each start and for each 2^32 blocks. */
    if (low == 0) nsgx_random(prefix, sizeof prefix);
    memcpy(iv, prefix, 8);
    memcpy(iv + 8, &low, 4);
    counter++;
}

static bool flush(uint64_t first, uint32_t count) {
    if (count == 0) return true;
    memcpy(libos_io_data(), batch, (uint64_t)count * BLOCK);
    return transfer(IO_PWRITE, (uint64_t)count * BLOCK, first * BLOCK);
}

static bool write_blocks(const struct plan *plan, uint8_t *memory, uint64_t size) {
    uint64_t first = 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < plan->count; i++) {
        struct reference r = {plan->item[i].position, plan->item[i].length, {0}, {0}};
        if (r.length == 0 || r.length > BLOCK || plan->item[i].from > size - r.length ||
            plan->item[i].reference > size - sizeof r || plan->item[i].also > size - sizeof r)
            return false;
        if (count == BATCH || (count > 0 && r.position != first + count)) {
            if (!flush(first, count)) return false;
            count = 0;
        }
        if (count == 0) first = r.position;
        uint8_t *to = batch + (uint64_t)count++ * BLOCK;
        memcpy(to, memory + plan->item[i].from, r.length);
        memset(to + r.length, 0, BLOCK - r.length);
        next_iv(r.iv);
        nsgx_gcm_encrypt(block_key, sizeof block_key, r.iv, NULL, 0, to, r.length, r.tag);
        memcpy(memory + plan->item[i].reference, &r, sizeof r);
        if (plan->item[i].also != 0) memcpy(memory + plan->item[i].also, &r, sizeof r);
    }
    return flush(first, count);
}

/* Positions of a commit as ranges; none when it is a large one. */
static uint32_t ranges_of(const struct plan *plan, struct range *list) {
    uint32_t ranges = 0;
    if (plan->count > MOST_AT_ONCE) return 0;
    for (uint32_t i = 0; i < plan->count; i++) {
        uint32_t position = (uint32_t)plan->item[i].position;
        if (ranges > 0 && position == list[ranges - 1].first + list[ranges - 1].count) list[ranges - 1].count++;
        else list[ranges++] = (struct range){position, 1};
    }
    return ranges;
}

static bool write_root(struct whole_root *next) {
    root_mac(next, next->head.mac);
    memset(libos_io_data(), 0, ROOT_STRIDE);
    memcpy(libos_io_data(), next, sizeof *next);
    return transfer(IO_PWRITE, ROOT_STRIDE, (next->head.version & 1) * ROOT_STRIDE) && make_durable();
}

/* Blocks alone: a later root refers to them. */
static int32_t write_out(const struct plan *plan, uint8_t *memory, uint64_t size) {
    if (broken) return -EIO;
    if (batch == NULL) batch = malloc(LIBOS_CHANNEL_ROOM);
    return batch != NULL && write_blocks(plan, memory, size) ? 0 : -EIO;
}

static int32_t commit(const struct plan *plan, uint8_t *memory, uint64_t size) {
    struct whole_root next = {.head = root};
    if (write_out(plan, memory, size) != 0) return -EIO;
    next.head.ranges = plan->early ? 0 : ranges_of(plan, next.list);
    if (next.head.ranges == 0 && !make_durable()) return -EIO;
    next.head.version++;
    next.head.size = plan->size;
    memcpy(&next.head.top, memory + plan->top, sizeof next.head.top);
    if (!write_root(&next)) {
        /* Nobody knows which root is there: what the next commit would overwrite may be in use. */
        broken = true;
        say("the store cannot be written any more: its host failed to write its root");
        return -EIO;
    }
    root = next.head;
    return 0;
}

/* A block, and where its bytes go: as many as there is room for, zeros behind those that it has. core/fs/loading.ts */
struct wanted {
    struct reference reference;
    uint32_t to, room;
};

/* Blocks by their references, those that follow one another outside in one go. */
static bool read_blocks(const struct wanted *blocks, uint32_t count, uint8_t *memory) {
    for (uint32_t i = 0; i < count;) {
        uint64_t first = blocks[i].reference.position;
        uint32_t n = 1;
        if (first == 0) {
            memset(memory + blocks[i].to, 0, blocks[i].room);
            i++;
            continue;
        }
        while (n < BATCH && i + n < count && blocks[i + n].reference.position == first + n) n++;
        if (!transfer(IO_PREAD, (uint64_t)n * BLOCK, first * BLOCK)) return false;
        for (uint32_t k = 0; k < n; k++, i++) {
            const struct reference *r = &blocks[i].reference;
            uint8_t *to = memory + blocks[i].to;
            if (r->length > blocks[i].room) return false;
            memcpy(to, libos_io_data() + (uint64_t)k * BLOCK, r->length);
            if (!nsgx_gcm_decrypt(block_key, sizeof block_key, r->iv, NULL, 0, to, r->length, r->tag)) {
                if (!quiet) say("a block of the store is not what was written there");
                return false;
            }
            memset(to + r->length, 0, blocks[i].room - r->length);
        }
    }
    return true;
}

/* A block of references, or of the metadata. */
static bool read_one(const struct reference *reference, uint8_t *to, uint64_t room) {
    struct wanted wanted = {*reference, 0, room < BLOCK ? (uint32_t)room : BLOCK};
    return read_blocks(&wanted, 1, to);
}

/* The levels of references above `blocks` blocks: the last is there, the others are read. */
static bool read_references(uint8_t *levels, uint32_t blocks) {
    uint32_t counts[8], depth = 0;
    uint64_t total = 0;
    for (uint32_t n = blocks;; n = (n + FANOUT - 1) / FANOUT) {
        counts[depth++] = n;
        total += n;
        if (n == 1) break;
    }
    struct reference *above = (struct reference *)(levels + (total - 1) * sizeof *above);
    for (uint32_t d = depth - 1; d > 0; d--) {
        struct reference *level = above - counts[d - 1];
        for (uint32_t j = 0; j < counts[d]; j++) {
            uint32_t n = counts[d - 1] - j * FANOUT < FANOUT ? counts[d - 1] - j * FANOUT : FANOUT;
            if (above[j].length != n * sizeof *level ||
                !read_one(above + j, (uint8_t *)(level + j * FANOUT), n * sizeof *level))
                return false;
        }
        above = level;
    }
    return true;
}

static void done(uint32_t *state, int32_t result) {
    *(volatile int32_t *)(state + 1) = result;
    __atomic_store_n(state, STATE_DONE, __ATOMIC_RELEASE);
}

/* Of a load: its state and result, how many blocks, and those. */
static bool load(const uint32_t *head, uint8_t *memory, uint64_t size) {
    const struct wanted *blocks = (const struct wanted *)(head + 4);
    uint64_t at = (uint64_t)((const uint8_t *)blocks - memory);
    if (at > size || head[2] > (size - at) / sizeof *blocks) return false;
    for (uint32_t i = 0; i < head[2]; i++)
        if (blocks[i].room > BLOCK || blocks[i].to > size - blocks[i].room) return false;
    return read_blocks(blocks, head[2], memory);
}

int64_t libos_store_serve(uint64_t op, const uint64_t a[6], uint8_t *memory, uint64_t size) {
    uint32_t *state = (uint32_t *)(memory + a[0]);
    if (a[0] > size - 16) libos_die("the core asked for a commit or a load that is not there", a[0]);
    /* Whatever comes of it is told, or others would wait for it for ever. */
    if (op == OP_STORE_COMMIT) done(state, commit((const struct plan *)state, memory, size));
    else if (op == OP_STORE_WRITE) done(state, write_out((const struct plan *)state, memory, size));
    else done(state, load(state, memory, size) ? 0 : -EIO);
    return 0;
}

/* What the last commit of this run was. */
static void tell(void) {
    if (root.version > first_version) host_call(root.version, root.mac);
}

void libos_store_last(uint8_t *memory) {
    static uint32_t once;
    if (__atomic_exchange_n(&once, 1, __ATOMIC_ACQ_REL) != 0) return;
    for (;;) {
        libos_lock();
        uint32_t at = w2c_core_lastPlan(libos_core());
        libos_unlock();
        if (at == 0) {
            tell();
            return;
        }
        if (at == 1) {
            libos_host_yield();
            continue;
        }
        struct plan *plan = (struct plan *)(memory + at);
        /* Memory may have grown for the plan. */
        if (at != 2) done(&plan->state, commit(plan, memory, w2c_core_memory(libos_core())->size));
        if (at == 2 || plan->result != 0) say("what was written to the store last could not be kept");
        tell();
        return;
    }
}

/* fd, size, the version that is wanted at least, and whether the host wants to be asked for durability. */
static bool open_host(uint64_t answer[4]) {
    struct {
        uint64_t length, word[4];
    } message;
    size_t length = sizeof message;
    nsgx_writer request;
    nsgx_writer_start(&request);
    nsgx_status status = nsgx_ocall_into(CALL_STORE_OPEN, &request, &message, &length);
    nsgx_writer_free(&request);
    if (status != NSGX_OK || length != sizeof message || message.length != 32) return false;
    memcpy(answer, message.word, 32);
    return true;
}

/* Roots that are whole, the one with the higher version first: how many. */
static uint32_t find_roots(uint32_t policy, struct whole_root found[2]) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < 2; i++) {
        struct whole_root *candidate = &found[count];
        uint8_t mac[32];
        if (!transfer(IO_PREAD, ROOT_STRIDE, i * ROOT_STRIDE)) continue;
        memcpy(candidate, libos_io_data(), sizeof *candidate);
        const struct root *head = &candidate->head;
        if (!nsgx_equal(head->magic, MAGIC, 8) || head->format != FORMAT || head->key.policy != policy ||
            head->ranges > MOST_AT_ONCE || !get_keys(head))
            continue;
        root_mac(candidate, mac);
        if (nsgx_equal(mac, head->mac, 32)) count++;
    }
    if (count == 2 && found[0].head.version < found[1].head.version) {
        struct whole_root higher = found[1];
        found[1] = found[0];
        found[0] = higher;
    }
    return count;
}

static void fresh_root(uint32_t policy) {
    memset(&root, 0, sizeof root);
    memcpy(root.magic, MAGIC, 8);
    root.format = FORMAT;
    libos_choose_key(policy, &root.key);
}

/* Where the core has them; 0 when they are damaged. */
static uint32_t read_metadata(uint8_t *memory) {
    libos_lock();
    uint32_t at = w2c_core_storeRoom(libos_core(), root.size, 0);
    uint32_t references = at == 0 ? 0 : w2c_core_storeRoom(libos_core(), root.size, 1);
    libos_unlock();
    if (references == 0) return 0;
    uint32_t blocks = (uint32_t)((root.size + BLOCK - 1) / BLOCK), total = 0;
    for (uint32_t n = blocks;; n = (n + FANOUT - 1) / FANOUT) {
        total += n;
        if (n == 1) break;
    }
    memcpy(memory + references + (uint64_t)(total - 1) * sizeof root.top, &root.top, sizeof root.top);
    const struct reference *of = (const struct reference *)(memory + references);
    bool good = read_references(memory + references, blocks);
    for (uint64_t i = 0; good && i < blocks; i++) good = read_one(of + i, memory + at + i * BLOCK, root.size - i * BLOCK);
    return good ? at : 0;
}

static bool listed(const struct whole_root *r, uint64_t position) {
    for (uint32_t i = 0; i < r->head.ranges; i++)
        if (position >= r->list[i].first && position - r->list[i].first < r->list[i].count) return true;
    return false;
}

/* Whether what a commit wrote of the `blocks` blocks below a reference is there. */
static bool arrived(const struct whole_root *r, const struct reference *reference, uint64_t blocks) {
    if (reference->position == 0 || !listed(r, reference->position)) return true;
    uint8_t *node = malloc(BLOCK);
    bool good = node != NULL && read_one(reference, node, BLOCK);
    uint64_t span = 1;
    while (span * FANOUT < blocks) span *= FANOUT;
    const struct reference *child = (const struct reference *)node;
    for (uint64_t done = 0; good && blocks > 1 && done < blocks; done += span, child++)
        good = arrived(r, child, blocks - done < span ? blocks - done : span);
    free(node);
    return good;
}

/* The same of all files that the metadata name (core/fs/store.ts), which are authentic. */
static bool all_arrived(const struct whole_root *r, const uint8_t *metadata) {
    uint32_t count, names[2];
    memcpy(&count, metadata + 4, 4);
    const uint8_t *entry = metadata + 8;
    for (uint32_t i = 0; i < count; i++) {
        struct reference top;
        uint64_t bytes;
        memcpy(names, entry + 20, 8);
        memcpy(&bytes, entry + 32, 8);
        memcpy(&top, entry + 64, sizeof top);
        if (bytes > 0 && !arrived(r, &top, (bytes + BLOCK - 1) / BLOCK)) return false;
        entry += (104ull + names[0] + names[1] + 7) & ~7ull;
    }
    return true;
}

/* Takes a commit as the last one; false when it is not whole. */
static bool begin_with(const struct whole_root *candidate, uint8_t *memory) {
    root = candidate->head;
    quiet = root.ranges > 0; /* one that was cut short is no damage */
    uint32_t metadata = get_keys(&root) ? read_metadata(memory) : 0;
    bool good = metadata != 0 && (root.ranges == 0 || all_arrived(candidate, memory + metadata));
    quiet = false;
    return good;
}

/* The last commit that is whole; false, with a note, when there is none. One that was cut short is made up for by the one before it. */
static bool find_last(uint32_t policy, uint8_t *memory, uint64_t least) {
    struct whole_root found[2];
    uint32_t count = find_roots(policy, found);
    if (count == 0) {
        say("the store is damaged, or another program's");
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (found[i].head.version < least) {
            say("the store is older than the version that is wanted");
            return false;
        }
        if (begin_with(&found[i], memory)) {
            if (i > 0) say("the last commit of the store was cut short: it is as of the one before");
            return true;
        }
        if (found[i].head.ranges == 0) break;
    }
    say("the store is damaged");
    return false;
}

static bool mount(uint32_t policy, uint8_t *memory) {
    uint64_t host[4];
    if (!open_host(host) || host[0] > INT32_MAX) {
        say("the image has a store, and the host gives none");
        return false;
    }
    host_fd = host[0];
    host_asked = host[3] != 0;
    if (host[1] > 0) {
        if (!find_last(policy, memory, host[2])) return false;
    } else {
        fresh_root(policy);
        if (!get_keys(&root)) return false;
        if (host[2] > 0) {
            say("the store is older than the version that is wanted");
            return false;
        }
    }
    first_version = root.version;
    libos_lock();
    w2c_core_mountStore(libos_core());
    libos_unlock();
    for (;;) {
        uint32_t want[2] = {0, 0};
        libos_lock();
        uint32_t at = w2c_core_storeWants(libos_core());
        libos_unlock();
        if (at == 0) break;
        memcpy(want, memory + at, 8);
        if (read_references(memory + want[0], want[1])) continue;
        say("the store is damaged");
        return false;
    }
    return true;
}

bool libos_store_start(uint8_t *memory) {
    w2c_core *core = libos_core();
    uint32_t policy = w2c_core_storePolicy(core);
    if (policy == 0) return true;
    bool good = (policy != LIBOS_KEY_PROVISIONED || libos_provision(memory + w2c_core_storeKeyAt(core), w2c_core_storeKeyBytes(core))) &&
                mount(policy, memory);
    libos_forget_key();
    return good;
}
