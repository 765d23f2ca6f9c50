/* See plt_rans.h; the layout is in docs/format.md, "Fast chunks". */
#include "plt_rans.h"

#include <string.h>

/* Single bits, the lowest of a byte first. */
typedef struct {
    plt_reader *bytes;
    uint32_t held, left;
} bit_reader;

static uint32_t read_bit(bit_reader *r)
{
    if (!r->left) {
        r->held = plt_read_byte(r->bytes);
        r->left = 8;
    }
    uint32_t bit = r->held & 1;
    r->held >>= 1;
    r->left--;
    return bit;
}

/* Zeros before the next one; too many are damage. */
static uint32_t read_zeros(bit_reader *r)
{
    uint32_t count = 0;
    while (!read_bit(r) && !r->bytes->failed)
        r->bytes->failed |= ++count > 2 * PLT_RANS_BITS;
    return count;
}

/* The `count` lowest bits of a number; those above, and a 1 before them, are known. */
static uint32_t read_bits(bit_reader *r, uint32_t count)
{
    uint32_t v = 1u << count;
    for (uint32_t i = 0; i < count; i++)
        v |= read_bit(r) << i;
    return v;
}

/* Returns the length of the next frequency, and has seen it. */
static uint32_t read_length(bit_reader *r, plt_table_lengths *t)
{
    uint32_t zeros = read_zeros(r), expected = plt_table_expected(t), by = (zeros + 1) / 2;

    r->bytes->failed |= zeros & 1 ? expected + by > PLT_RANS_BITS : by > expected;
    uint32_t length = r->bytes->failed ? 0 : zeros & 1 ? expected + by : expected - by;
    plt_table_seen(t, length);
    return length;
}

void plt_rans_table(uint32_t *slots, plt_reader *r)
{
    uint32_t kept = plt_read_byte(r), rest = plt_read_byte(r), sum = 0, absent = 0;
    uint16_t frequency[256];
    plt_table_lengths lengths = PLT_TABLE_BEGINS;
    bit_reader bits = {r, 0, 0};

    for (uint32_t s = 0; s < 256 && !r->failed; s++) {
        frequency[s] = 0;
        if (s == rest)
            continue;
        if (absent) {
            absent--;
            continue;
        }
        uint32_t length = read_length(&bits, &lengths);
        if (length) {
            uint32_t told = plt_table_told(length, kept);
            frequency[s] = (uint16_t)(read_bits(&bits, told) << (length - 1 - told));
        } else {
            absent = read_bits(&bits, read_zeros(&bits)) - 1;
        }
        sum += frequency[s];
        r->failed |= sum >= PLT_RANS_TOTAL;
    }
    r->failed |= !sum; /* a frequency has no more than PLT_RANS_BITS bits */
    if (r->failed)
        return;
    frequency[rest] = (uint16_t)(PLT_RANS_TOTAL - sum);
    for (uint32_t s = 0; s < 256; s++) {
        uint32_t n = frequency[s];
        for (uint32_t i = 0; i < n; i++)
            *slots++ = s | n << 8 | i << 20;
    }
}

void plt_rans_open(plt_rans *s, plt_reader *r, uint64_t items)
{
    uint64_t size = plt_read_number(r);
    const uint8_t *data = plt_read_bytes(r, size);

    if (r->failed)
        return;
    *s = (plt_rans){.states = plt_rans_states(items), .words = {data, data + size, 0}};
    for (uint32_t i = 0; i < s->states; i++)
        s->state[i] = plt_read_word(&s->words);
    r->failed |= s->words.failed;
}

/* As plt_rans_next(), where at least two bytes are known to be left; without a branch, as whether a
 * word is needed can not be foreseen. */
static inline uint32_t quick_step(const uint32_t *slots, uint32_t x, const uint8_t **at,
                                  uint8_t *out)
{
    uint32_t e = slots[x & (PLT_RANS_TOTAL - 1)];
    *out = (uint8_t)e;
    x = (e >> 8 & (PLT_RANS_TOTAL - 1)) * (x >> PLT_RANS_BITS) + (e >> 20);
    uint32_t word = (*at)[0] | (uint32_t)(*at)[1] << 8, low = x < 1u << 16;
    *at += 2 * low;
    return x << (low << 4) | (word & (0u - low));
}

/* All states in turn, as often as they fit into `count` and words are surely left. */
static size_t read_quickly(plt_rans *s, const uint32_t *slots, uint8_t *out, size_t count)
{
    uint32_t x0 = s->state[0], x1 = s->state[1], x2 = s->state[2], x3 = s->state[3];
    uint32_t x4 = s->state[4], x5 = s->state[5], x6 = s->state[6], x7 = s->state[7];
    const uint8_t *at = s->words.at;
    size_t i = 0;

    for (; count - i >= 8 && s->words.end - at >= 16; i += 8) {
        x0 = quick_step(slots, x0, &at, out + i);
        x1 = quick_step(slots, x1, &at, out + i + 1);
        x2 = quick_step(slots, x2, &at, out + i + 2);
        x3 = quick_step(slots, x3, &at, out + i + 3);
        x4 = quick_step(slots, x4, &at, out + i + 4);
        x5 = quick_step(slots, x5, &at, out + i + 5);
        x6 = quick_step(slots, x6, &at, out + i + 6);
        x7 = quick_step(slots, x7, &at, out + i + 7);
    }
    s->words.at = at;
    s->state[0] = x0;
    s->state[1] = x1;
    s->state[2] = x2;
    s->state[3] = x3;
    s->state[4] = x4;
    s->state[5] = x5;
    s->state[6] = x6;
    s->state[7] = x7;
    return i;
}

void plt_plane_open(plt_plane *p, plt_reader *r, uint64_t items, uint32_t *slots)
{
    *p = (plt_plane){.mode = plt_read_byte(r), .slots = slots};
    if (p->mode == PLT_PLANE_STORED) {
        p->stored = plt_read_bytes(r, items);
    } else if (p->mode == PLT_PLANE_CONSTANT) {
        p->constant = plt_read_byte(r);
    } else if (p->mode == PLT_PLANE_CODED) {
        plt_rans_table(slots, r);
        plt_rans_open(&p->rans, r, items);
    } else {
        r->failed = 1;
    }
}

void plt_plane_read(plt_plane *p, uint8_t *out, size_t count)
{
    size_t i = 0;

    if (p->mode == PLT_PLANE_STORED) {
        memcpy(out, p->stored, count);
        p->stored += count;
    } else if (p->mode == PLT_PLANE_CONSTANT) {
        memset(out, p->constant, count);
    } else {
        if (p->rans.states == PLT_RANS_STATES && p->rans.turn == 0)
            i = read_quickly(&p->rans, p->slots, out, count);
        for (; i < count; i++)
            out[i] = plt_rans_next(&p->rans, p->slots);
    }
}
