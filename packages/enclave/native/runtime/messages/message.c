/* Typed messages; the format is described in nsgx_message.h. */
#include <stdlib.h>

#include "runtime.h"

static uint64_t word(nsgx_reader *reader) {
    uint64_t value = 0;
    if (reader->status != NSGX_OK) return 0;
    if (reader->end - reader->at < 8) {
        reader->status = NSGX_INVALID_REQUEST;
        return 0;
    }
    memcpy(&value, reader->at, 8);
    reader->at += 8;
    return value;
}

static void refuse_unless(nsgx_reader *reader, bool good) {
    if (!good && reader->status == NSGX_OK) reader->status = NSGX_INVALID_REQUEST;
}

int32_t nsgx_read_i32(nsgx_reader *reader) {
    uint64_t value = word(reader);
    int32_t low = (int32_t)(uint32_t)value;
    refuse_unless(reader, value >> 32 == 0 || value == (uint64_t)(int64_t)low);
    return low;
}

uint32_t nsgx_read_u32(nsgx_reader *reader) {
    uint64_t value = word(reader);
    refuse_unless(reader, value >> 32 == 0);
    return (uint32_t)value;
}

int64_t nsgx_read_i64(nsgx_reader *reader) { return (int64_t)word(reader); }
uint64_t nsgx_read_u64(nsgx_reader *reader) { return word(reader); }

double nsgx_read_f64(nsgx_reader *reader) {
    uint64_t value = word(reader);
    double number;
    memcpy(&number, &value, 8);
    return number;
}

bool nsgx_read_bool(nsgx_reader *reader) {
    uint64_t value = word(reader);
    refuse_unless(reader, value <= 1);
    return value == 1;
}

nsgx_bytes nsgx_read_bytes(nsgx_reader *reader) {
    static const uint8_t nothing[1] = {0};
    uint64_t length = word(reader);
    if (reader->status != NSGX_OK) return (nsgx_bytes){nothing, 0};
    uint64_t left = (uint64_t)(reader->end - reader->at);
    if (length > left || ((length + 7) & ~7ull) > left) {
        reader->status = NSGX_INVALID_REQUEST;
        return (nsgx_bytes){nothing, 0};
    }
    uint8_t *copy = nsgx_call_alloc(length + 1);
    if (copy == NULL) {
        reader->status = NSGX_OUT_OF_MEMORY;
        return (nsgx_bytes){nothing, 0};
    }
    memcpy(copy, reader->at, length);
    copy[length] = 0;
    reader->at += (length + 7) & ~7ull;
    return (nsgx_bytes){copy, length};
}

/* Well-formed UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF. */
static bool is_utf8(const uint8_t *at, size_t length) {
    const uint8_t *end = at + length;
    while (at < end) {
        uint8_t first = *at++;
        if (first < 0x80) continue;
        uint8_t low = 0x80, high = 0xbf;
        int more;
        if (first >= 0xc2 && first <= 0xdf) {
            more = 1;
        } else if (first >= 0xe0 && first <= 0xef) {
            more = 2;
            if (first == 0xe0) low = 0xa0;
            if (first == 0xed) high = 0x9f;
        } else if (first >= 0xf0 && first <= 0xf4) {
            more = 3;
            if (first == 0xf0) low = 0x90;
            if (first == 0xf4) high = 0x8f;
        } else {
            return false;
        }
        if (end - at < more) return false;
        if (at[0] < low || at[0] > high) return false;
        for (int i = 1; i < more; i++)
            if ((at[i] & 0xc0) != 0x80) return false;
        at += more;
    }
    return true;
}

nsgx_string nsgx_read_string(nsgx_reader *reader) {
    nsgx_bytes bytes = nsgx_read_bytes(reader);
    refuse_unless(reader, is_utf8(bytes.data, bytes.length));
    return (nsgx_string){(const char *)bytes.data, bytes.length};
}

bool nsgx_read_end(nsgx_reader *reader) {
    refuse_unless(reader, reader->at == reader->end);
    return reader->status == NSGX_OK;
}

void nsgx_writer_start(nsgx_writer *writer) {
    writer->data = writer->small;
    writer->length = 0;
    writer->capacity = sizeof writer->small;
    writer->status = NSGX_OK;
}

void nsgx_writer_free(nsgx_writer *writer) {
    nsgx_wipe(writer->data, writer->length);
    if (writer->data != writer->small) free(writer->data);
    writer->data = writer->small;
    writer->length = 0;
}

/* Room for `length` more bytes, or NULL. */
static uint8_t *extend(nsgx_writer *writer, size_t length) {
    if (writer->status != NSGX_OK) return NULL;
    if (length > writer->capacity - writer->length) {
        size_t capacity = writer->capacity * 2;
        if (length > SIZE_MAX / 4) capacity = 0;
        else if (capacity < writer->length + length) capacity = writer->length + length;
        uint8_t *data = capacity == 0 ? NULL : malloc(capacity);
        if (data == NULL) {
            writer->status = NSGX_OUT_OF_MEMORY;
            return NULL;
        }
        memcpy(data, writer->data, writer->length);
        nsgx_wipe(writer->data, writer->length);
        if (writer->data != writer->small) free(writer->data);
        writer->data = data;
        writer->capacity = capacity;
    }
    uint8_t *at = writer->data + writer->length;
    writer->length += length;
    return at;
}

void nsgx_write_u64(nsgx_writer *writer, uint64_t value) {
    uint8_t *at = extend(writer, 8);
    if (at != NULL) memcpy(at, &value, 8);
}

void nsgx_write_raw(nsgx_writer *writer, const void *data, size_t length) {
    uint8_t *at = extend(writer, length);
    if (at != NULL) memcpy(at, data, length);
}

void nsgx_write_i32(nsgx_writer *writer, int32_t value) { nsgx_write_u64(writer, (uint64_t)(int64_t)value); }
void nsgx_write_u32(nsgx_writer *writer, uint32_t value) { nsgx_write_u64(writer, value); }
void nsgx_write_i64(nsgx_writer *writer, int64_t value) { nsgx_write_u64(writer, (uint64_t)value); }
void nsgx_write_bool(nsgx_writer *writer, bool value) { nsgx_write_u64(writer, value ? 1 : 0); }

void nsgx_write_f64(nsgx_writer *writer, double value) {
    uint64_t bits;
    memcpy(&bits, &value, 8);
    nsgx_write_u64(writer, bits);
}

void nsgx_write_bytes(nsgx_writer *writer, nsgx_bytes value) {
    if (value.length > SIZE_MAX / 4) {
        writer->status = NSGX_OUT_OF_MEMORY;
        return;
    }
    size_t padded = (value.length + 7) & ~(size_t)7;
    nsgx_write_u64(writer, value.length);
    uint8_t *at = extend(writer, padded);
    if (at == NULL) return;
    if (value.length > 0) memcpy(at, value.data, value.length);
    memset(at + value.length, 0, padded - value.length);
}

void nsgx_write_string(nsgx_writer *writer, nsgx_string value) {
    nsgx_write_bytes(writer, (nsgx_bytes){(const uint8_t *)value.data, value.length});
}
