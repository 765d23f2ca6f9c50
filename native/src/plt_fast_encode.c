/* The encoder of the fast codec; see plt_fast.h. */
#include "plt_fast_encode.h"

#include <string.h>

void plt_put_bytes(plt_writer *w, const uint8_t *data, size_t size)
{
    if (size > (size_t)(w->end - w->at)) {
        w->failed = 1;
        return;
    }
    memcpy(w->at, data, size);
    w->at += size;
}

void plt_put_byte(plt_writer *w, uint32_t byte)
{
    uint8_t b = (uint8_t)byte;
    plt_put_bytes(w, &b, 1);
}

void plt_put_number(plt_writer *w, uint64_t v)
{
    for (; v >= 128; v >>= 7)
        plt_put_byte(w, (uint32_t)(v & 127) | 128);
    plt_put_byte(w, (uint32_t)v);
}

/* Codes backwards from the end of the buffer, then moves the stream to its front. */
static void put_symbols(const plt_fast_encoder *e, plt_writer *w, const uint8_t *data,
                        const uint8_t *classes, size_t items)
{
    uint32_t states = plt_rans_states(items), state[PLT_RANS_STATES];
    uint8_t *at = w->end, *floor = w->at + 4 * states + 10;

    for (uint32_t i = 0; i < states; i++)
        state[i] = 1u << 16;
    if (w->failed || w->end - w->at < 4 * PLT_RANS_STATES + 16) {
        w->failed = 1;
        return;
    }
    for (size_t i = items; i-- > 0;) {
        uint32_t s = data[i], c = classes ? classes[i] : 0, n = e->frequency[c][s];
        uint32_t x = state[i % states];
        if (x >> (32 - PLT_RANS_BITS) >= n) {
            if (at - floor < 2) {
                w->failed = 1;
                return;
            }
            *--at = (uint8_t)(x >> 8);
            *--at = (uint8_t)x;
            x >>= 16;
        }
        state[i % states] = (x / n << PLT_RANS_BITS) + x % n + e->start[c][s];
    }
    size_t words = (size_t)(w->end - at);
    plt_put_number(w, words + 4 * states);
    for (uint32_t i = 0; i < states; i++)
        for (int b = 0; b < 4; b++)
            plt_put_byte(w, state[i] >> 8 * b);
    memmove(w->at, at, words);
    w->at += words;
}

void plt_put_plane(plt_fast_encoder *e, plt_writer *w, const uint8_t *data, size_t items)
{
    size_t count[256] = {0};
    uint8_t *mode = w->at;
    uint32_t used = 0;

    for (size_t i = 0; i < items; i++)
        count[data[i]]++;
    for (uint32_t s = 0; s < 256; s++)
        used += count[s] != 0;
    if (used == 1) {
        plt_put_byte(w, 2);
        plt_put_byte(w, data[0]);
        return;
    }
    plt_put_byte(w, 1);
    plt_put_table(e, w, 0, count, items);
    put_symbols(e, w, data, 0, items);
    /* less than one part in 64 is not worth the time to decode it */
    if (!w->failed && (size_t)(w->at - mode) + items / 64 < items)
        return;
    w->at = mode;
    w->failed = 0;
    plt_put_byte(w, 0);
    plt_put_bytes(w, data, items);
}

size_t plt_fast_encode(plt_fast_encoder *e, uint32_t kind, uint32_t width, size_t items,
                       const uint8_t *planes, const uint8_t *palette, uint32_t palette_size,
                       uint8_t *out, size_t capacity)
{
    plt_writer w = {out, out + capacity, 0};

    plt_put_byte(&w, kind);
    if (kind != PLT_FAST_STORED)
        plt_put_byte(&w, width);
    plt_put_number(&w, items);
    if (kind == PLT_FAST_STORED) {
        plt_put_bytes(&w, planes, items);
    } else if (kind == PLT_FAST_PALETTE) {
        plt_put_number(&w, palette_size);
        plt_put_bytes(&w, palette, (size_t)palette_size * width);
        plt_put_plane(e, &w, planes, items);
    } else {
        for (uint32_t k = 0; k < width; k++)
            plt_put_plane(e, &w, planes + k * items, items);
    }
    return w.failed ? 0 : (size_t)(w.at - out);
}

size_t plt_fast_encode_kernels(plt_fast_encoder *e, uint32_t class_count, size_t items,
                               const uint8_t *symbols, const uint8_t *classes, uint8_t *out,
                               size_t capacity)
{
    plt_writer w = {out, out + capacity, 0};

    for (uint32_t c = 0; c < class_count; c++) {
        size_t count[256] = {0}, sum = 0;
        for (size_t i = 0; i < items; i++)
            if (classes[i] == c) {
                count[symbols[i]]++;
                sum++;
            }
        plt_put_byte(&w, sum != 0);
        if (!sum)
            continue;
        plt_put_table(e, &w, c, count, sum);
    }
    put_symbols(e, &w, symbols, classes, items);
    return w.failed ? 0 : (size_t)(w.at - out);
}
