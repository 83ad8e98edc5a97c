/* snprintf. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct output {
    char *to;
    size_t capacity;
    size_t length; /* what the whole text would take */
};

static void put(struct output *output, char value) {
    if (output->length + 1 < output->capacity) output->to[output->length] = value;
    output->length++;
}

static void put_padded(struct output *output, const char *text, size_t length, size_t width, bool left, char pad) {
    size_t fill = width > length ? width - length : 0;
    if (!left && pad == '0' && length > 0 && (*text == '-' )) {
        put(output, *text++);
        length--;
    }
    for (; !left && fill > 0; fill--) put(output, pad);
    for (size_t i = 0; i < length; i++) put(output, text[i]);
    for (; fill > 0; fill--) put(output, ' ');
}

/* Digits of `value`, written backwards from `end`; returns where they start. */
static char *digits(char *end, uint64_t value, unsigned base, bool upper) {
    const char *alphabet = upper ? "0123456789ABCDEF" : "0123456789abcdef";
    do {
        *--end = alphabet[value % base];
        value /= base;
    } while (value != 0);
    return end;
}

static size_t number_in(const char **format) {
    size_t number = 0;
    for (; **format >= '0' && **format <= '9'; (*format)++)
        if (number < 100000) number = number * 10 + (size_t)(**format - '0');
    return number;
}

int vsnprintf(char *to, size_t capacity, const char *format, va_list arguments) {
    struct output output = {to, capacity, 0};
    for (; *format != 0; format++) {
        if (*format != '%') {
            put(&output, *format);
            continue;
        }
        format++;
        bool left = false, zero = false, limited = false;
        for (; *format == '-' || *format == '0'; format++) {
            if (*format == '-') left = true;
            else zero = true;
        }
        size_t width = number_in(&format), limit = SIZE_MAX;
        if (*format == '.') {
            format++;
            limited = true;
            if (*format == '*') {
                int given = va_arg(arguments, int);
                limit = given < 0 ? SIZE_MAX : (size_t)given;
                format++;
            } else {
                limit = number_in(&format);
            }
        }
        int longs = 0;
        for (; *format == 'l' || *format == 'z'; format++) longs++;
        char room[24], *end = room + sizeof room, *start = end;
        char pad = zero && !left ? '0' : ' ';
        switch (*format) {
            case 'd':
            case 'i': {
                int64_t value = longs > 0 ? va_arg(arguments, long) : va_arg(arguments, int);
                start = digits(end, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, 10, false);
                if (value < 0) *--start = '-';
                put_padded(&output, start, (size_t)(end - start), width, left, pad);
                break;
            }
            case 'u':
            case 'x':
            case 'X': {
                uint64_t value = longs > 0 ? va_arg(arguments, unsigned long) : va_arg(arguments, unsigned);
                start = digits(end, value, *format == 'u' ? 10 : 16, *format == 'X');
                put_padded(&output, start, (size_t)(end - start), width, left, pad);
                break;
            }
            case 'p':
                start = digits(end, (uint64_t)va_arg(arguments, void *), 16, false);
                *--start = 'x';
                *--start = '0';
                put_padded(&output, start, (size_t)(end - start), width, left, ' ');
                break;
            case 'c':
                *--start = (char)va_arg(arguments, int);
                put_padded(&output, start, 1, width, left, ' ');
                break;
            case 's': {
                const char *text = va_arg(arguments, const char *);
                if (text == NULL) text = "(null)";
                put_padded(&output, text, strnlen(text, limited ? limit : SIZE_MAX), width, left, ' ');
                break;
            }
            case '%':
                put(&output, '%');
                break;
            default: /* unknown: shown as it stands */
                put(&output, '%');
                if (*format == 0) format--;
                else put(&output, *format);
        }
    }
    if (capacity > 0) to[output.length < capacity ? output.length : capacity - 1] = 0;
    return output.length > INT32_MAX ? -1 : (int)output.length;
}

int snprintf(char *to, size_t capacity, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(to, capacity, format, arguments);
    va_end(arguments);
    return length;
}
