/* What crosses the border by value and in buffers. Every pointer may be NULL, whatever is declared. */
#include "marshal_t.h"

#include <stdlib.h>

int ecall_add(int a, int b) { return (int)((unsigned)a + (unsigned)b); }

void ecall_empty(void) {}

uint64_t ecall_types(int8_t a, uint16_t b, long c, float d, bool e, char f, uint64_t g) {
    return (uint64_t)((int64_t)a + b + c + (int64_t)(d * 4) + (e ? 1000 : 0) + f) + g;
}

double ecall_mean(double a, double b) { return (a + b) / 2; }

enum colour_t ecall_next_colour(enum colour_t colour) { return colour == RED ? GREEN : colour == GREEN ? BLUE : RED; }

struct point_t ecall_move(struct point_t point, int by) {
    point.x += by;
    point.y += by;
    point.tag = (short)(point.tag + 1);
    return point;
}

void ecall_move_at(struct point_t *point, int by) {
    if (point != NULL) *point = ecall_move(*point, by);
}

union word_t ecall_swap(union word_t word) {
    word.whole = __builtin_bswap32(word.whole);
    return word;
}

void ecall_array(int given[4], int taken[4], int both[2][2]) {
    if (given == NULL || taken == NULL || both == NULL) return;
    for (int i = 0; i < 4; i++) taken[i] = given[3 - i] + both[i / 2][i % 2];
    int first = both[0][0];
    both[0][0] = both[1][1];
    both[1][1] = first;
}

int ecall_sum(const int *values, size_t n) {
    if (values == NULL) return -1;
    if (!nsgx_is_inside(values, n * sizeof *values)) return -2;
    unsigned sum = 0;
    for (size_t i = 0; i < n; i++) sum += (unsigned)values[i];
    return (int)sum;
}

/* The first byte is left as it came: zero, whatever the host had there. */
void ecall_fill(uint8_t *to, size_t n, uint8_t with) {
    if (to != NULL && n > 1) memset(to + 1, with, n - 1);
}

void ecall_reverse(void *bytes, size_t n) {
    uint8_t *at = bytes;
    for (size_t i = 0; at != NULL && i < n / 2; i++) {
        uint8_t byte = at[i];
        at[i] = at[n - 1 - i];
        at[n - 1 - i] = byte;
    }
}

size_t ecall_cells(const void *cells, size_t unit, size_t n) {
    const uint8_t *at = cells;
    size_t sum = 0;
    for (size_t i = 0; at != NULL && i < unit * n; i++) sum += at[i];
    return sum;
}

size_t ecall_length(const char *text) { return text == NULL ? 0 : strlen(text); }

void ecall_upper(char *text) {
    for (; text != NULL && *text != 0; text++)
        if (*text >= 'a' && *text <= 'z') *text = (char)(*text - 32);
}

size_t ecall_wide(const wchar_t *text) { return text == NULL ? 0 : wcslen(text); }

/* The address comes as it is: the border is the enclave's own to check. */
uint32_t ecall_raw(const void *pointer, size_t n) {
    uint8_t bytes[64];
    uint32_t sum = 0;
    if (n > sizeof bytes || !nsgx_copy_in(bytes, pointer, n)) return UINT32_MAX;
    for (size_t i = 0; i < n; i++) sum += bytes[i];
    return sum;
}

/* Sums all, and adds one to each. A list of kind 9 says that it has grown, which must be refused. */
int ecall_list(struct list_t *list) {
    if (list == NULL) return -1;
    int sum = 0;
    uint8_t *bytes = list->data;
    for (size_t i = 0; bytes != NULL && i < list->bytes; i++) sum += bytes[i]++;
    for (size_t i = 0; list->values != NULL && i < list->numbers; i++) sum += list->values[i]++;
    if (list->kind == 9) list->bytes++;
    if (list->kind == 8) list->numbers--;
    return sum;
}

int ecall_lists(struct list_t *lists, size_t n) {
    int sum = 0;
    for (size_t i = 0; lists != NULL && i < n; i++) sum += (int)(i + 1) * ecall_list(lists + i);
    return sum;
}
