/* The encoder of the fast codec; see plt_fast.h. */
#include "plt_fast.h"

#include <string.h>

enum { TOTAL = 1 << PLT_FAST_BITS, STATES = 4 };

typedef struct {
    uint8_t *at, *end;
    int failed;
} writer;

static void put(writer *w, const uint8_t *data, size_t size)
{
    if (size > (size_t)(w->end - w->at)) {
        w->failed = 1;
        return;
    }
    memcpy(w->at, data, size);
    w->at += size;
}

static void put_byte(writer *w, uint32_t byte)
{
    uint8_t b = (uint8_t)byte;
    put(w, &b, 1);
}

static void put_number(writer *w, uint64_t v)
{
    for (; v >= 128; v >>= 7)
        put_byte(w, (uint32_t)(v & 127) | 128);
    put_byte(w, (uint32_t)v);
}

/* Scales the counts to a sum of TOTAL, every symbol that occurs at least once and below TOTAL. */
static void normalise(plt_fast *f, uint32_t class, const size_t *count, size_t items)
{
    uint16_t *frequency = f->frequency[class];
    uint32_t sum = 0, largest = 0;
    for (uint32_t s = 0; s < 256; s++) {
        uint64_t n = ((uint64_t)count[s] * TOTAL + items / 2) / items;
        frequency[s] = (uint16_t)(count[s] && !n ? 1 : n);
        sum += frequency[s];
        if (frequency[s] > frequency[largest])
            largest = s;
    }
    /* the rounding errors go to the largest, step by step so that none falls to zero */
    while (sum != TOTAL) {
        for (uint32_t s = 0; s < 256; s++)
            if (frequency[s] > frequency[largest])
                largest = s;
        int32_t change = sum < TOTAL ? (int32_t)(TOTAL - sum) : -1;
        frequency[largest] = (uint16_t)(frequency[largest] + change);
        sum = (uint32_t)((int32_t)sum + change);
    }
    /* a lone symbol leaves one part to another: no frequency has more than PLT_FAST_BITS bits */
    if (frequency[largest] == TOTAL) {
        frequency[largest]--;
        frequency[(largest + 1) & 255]++;
    }
    for (uint32_t s = 0, start = 0; s < 256; s++) {
        f->start[class][s] = (uint16_t)start;
        start += frequency[s];
    }
}

static void put_table(const uint16_t *frequency, writer *w)
{
    for (uint32_t s = 0; s < 256;) {
        put_number(w, frequency[s]);
        if (frequency[s++])
            continue;
        uint32_t run = 0;
        while (s < 256 && !frequency[s] && run < 255) {
            run++;
            s++;
        }
        put_byte(w, run);
    }
}

/* Codes backwards from the end of the buffer, then moves the stream to its front. */
static void put_symbols(const plt_fast *f, writer *w, const uint8_t *data, const uint8_t *classes,
                        size_t items)
{
    uint32_t state[STATES] = {1u << 16, 1u << 16, 1u << 16, 1u << 16};
    uint8_t *at = w->end, *floor = w->at + 4 * STATES + 10;

    if (w->failed || w->end - w->at < 4 * STATES + 16) {
        w->failed = 1;
        return;
    }
    for (size_t i = items; i-- > 0;) {
        uint32_t s = data[i], c = classes ? classes[i] : 0, n = f->frequency[c][s], x = state[i % STATES];
        if (x >> (32 - PLT_FAST_BITS) >= n) {
            if (at - floor < 2) {
                w->failed = 1;
                return;
            }
            *--at = (uint8_t)(x >> 8);
            *--at = (uint8_t)x;
            x >>= 16;
        }
        state[i % STATES] = (x / n << PLT_FAST_BITS) + x % n + f->start[c][s];
    }
    size_t words = (size_t)(w->end - at);
    put_number(w, words + 4 * STATES);
    for (int i = 0; i < STATES; i++)
        for (int b = 0; b < 4; b++)
            put_byte(w, state[i] >> 8 * b);
    memmove(w->at, at, words);
    w->at += words;
}

static void put_plane(plt_fast *f, writer *w, const uint8_t *data, size_t items)
{
    size_t count[256] = {0};
    uint8_t *mode = w->at;
    uint32_t used = 0;

    for (size_t i = 0; i < items; i++)
        count[data[i]]++;
    for (uint32_t s = 0; s < 256; s++)
        used += count[s] != 0;
    if (used == 1) {
        put_byte(w, 2);
        put_byte(w, data[0]);
        return;
    }
    put_byte(w, 1);
    normalise(f, 0, count, items);
    put_table(f->frequency[0], w);
    put_symbols(f, w, data, 0, items);
    /* less than one part in 64 is not worth the time to decode it */
    if (!w->failed && (size_t)(w->at - mode) + items / 64 < items)
        return;
    w->at = mode;
    w->failed = 0;
    put_byte(w, 0);
    put(w, data, items);
}

size_t plt_fast_encode(plt_fast *f, uint32_t kind, uint32_t width, size_t items,
                       const uint8_t *planes, const uint8_t *palette, uint32_t palette_size,
                       uint8_t *out, size_t capacity)
{
    writer w = {out, out + capacity, 0};

    put_byte(&w, kind);
    if (kind != PLT_FAST_STORED)
        put_byte(&w, width);
    put_number(&w, items);
    if (kind == PLT_FAST_STORED) {
        put(&w, planes, items);
    } else if (kind == PLT_FAST_PALETTE) {
        put_number(&w, palette_size);
        put(&w, palette, (size_t)palette_size * width);
        put_plane(f, &w, planes, items);
    } else {
        for (uint32_t k = 0; k < width; k++)
            put_plane(f, &w, planes + k * items, items);
    }
    return w.failed ? 0 : (size_t)(w.at - out);
}

size_t plt_fast_encode_kernels(plt_fast *f, uint32_t class_count, size_t items,
                               const uint8_t *symbols, const uint8_t *classes, uint8_t *out,
                               size_t capacity)
{
    writer w = {out, out + capacity, 0};

    for (uint32_t c = 0; c < class_count; c++) {
        size_t count[256] = {0}, sum = 0;
        for (size_t i = 0; i < items; i++)
            if (classes[i] == c) {
                count[symbols[i]]++;
                sum++;
            }
        put_byte(&w, sum != 0);
        if (!sum)
            continue;
        normalise(f, c, count, sum);
        put_table(f->frequency[c], &w);
    }
    put_symbols(f, &w, symbols, classes, items);
    return w.failed ? 0 : (size_t)(w.at - out);
}
