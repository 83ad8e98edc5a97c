/* Reading and writing of typed messages: what the generated bridges use. Arguments follow one another, each 8-byte
 * aligned: numbers and bool take 8 bytes little endian; string and bytes a u64 length, then the data padded to 8. */
#ifndef NSGX_MESSAGE_H
#define NSGX_MESSAGE_H

#include "nsgx.h"

typedef struct nsgx_reader {
    const uint8_t *at;
    const uint8_t *end;
    nsgx_status status; /* NSGX_OK until something is wrong; later reads give zeros */
} nsgx_reader;

typedef struct nsgx_writer {
    uint8_t *data;
    size_t length;
    size_t capacity;
    nsgx_status status;
    uint8_t small[256]; /* holds short messages without the heap */
} nsgx_writer;

int32_t nsgx_read_i32(nsgx_reader *reader);   /* upper half zero or sign */
uint32_t nsgx_read_u32(nsgx_reader *reader);  /* upper half zero */
int64_t nsgx_read_i64(nsgx_reader *reader);
uint64_t nsgx_read_u64(nsgx_reader *reader);
double nsgx_read_f64(nsgx_reader *reader);
bool nsgx_read_bool(nsgx_reader *reader);     /* 0 or 1 */
/* Copies into call memory; the string must be UTF-8. */
nsgx_string nsgx_read_string(nsgx_reader *reader);
nsgx_bytes nsgx_read_bytes(nsgx_reader *reader);
/* True when all was well and nothing is left over. */
bool nsgx_read_end(nsgx_reader *reader);

void nsgx_writer_start(nsgx_writer *writer);
void nsgx_writer_free(nsgx_writer *writer);   /* wipes */
void nsgx_write_i32(nsgx_writer *writer, int32_t value);
void nsgx_write_u32(nsgx_writer *writer, uint32_t value);
void nsgx_write_i64(nsgx_writer *writer, int64_t value);
void nsgx_write_u64(nsgx_writer *writer, uint64_t value);
void nsgx_write_f64(nsgx_writer *writer, double value);
void nsgx_write_bool(nsgx_writer *writer, bool value);
void nsgx_write_string(nsgx_writer *writer, nsgx_string value);
void nsgx_write_bytes(nsgx_writer *writer, nsgx_bytes value);

/* One OCALL: sends `request`, and leaves in `response` a reader over a private copy of the answer (call memory). */
nsgx_status nsgx_ocall(uint32_t index, const nsgx_writer *request, nsgx_reader *response);

/* The same with the answer copied to `to`: `*length` is the room there, and then the answer's length. For calls of any
 * number, as nothing of the answer stays until the ECALL ends. */
nsgx_status nsgx_ocall_into(uint32_t index, const nsgx_writer *request, void *to, size_t *length);

typedef void (*nsgx_ecall_bridge)(nsgx_reader *request, nsgx_writer *response);
extern const nsgx_ecall_bridge nsgx_ecall_table[];
extern const uint32_t nsgx_ecall_count;

#endif
