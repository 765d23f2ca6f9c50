/* See plt_lzma.h. The names follow the specification. */
#include "plt_lzma.h"

static void refill(plt_lzma *z)
{
    if (z->range < 1u << 24) {
        z->range <<= 8;
        z->code = z->code << 8 | (z->position < z->size ? z->in[z->position] : 0);
        z->position++;
    }
}

static uint32_t bit(plt_lzma *z, uint16_t *p)
{
    uint32_t bound;

    refill(z);
    bound = (z->range >> 11) * *p;
    if (z->code < bound) {
        z->range = bound;
        *p = (uint16_t)(*p + ((2048 - *p) >> 5));
        return 0;
    }
    z->range -= bound;
    z->code -= bound;
    *p = (uint16_t)(*p - (*p >> 5));
    return 1;
}

static uint32_t tree(plt_lzma *z, uint16_t *p, uint32_t bits)
{
    uint32_t m = 1;
    for (uint32_t i = 0; i < bits; i++)
        m = m << 1 | bit(z, &p[m]);
    return m - (1u << bits);
}

static uint32_t reverse_tree(plt_lzma *z, uint16_t *p, uint32_t bits)
{
    uint32_t m = 1, value = 0;
    for (uint32_t i = 0; i < bits; i++) {
        uint32_t b = bit(z, &p[m]);
        m = m << 1 | b;
        value |= b << i;
    }
    return value;
}

static uint32_t direct(plt_lzma *z, uint32_t bits)
{
    uint32_t value = 0;
    while (bits--) {
        refill(z);
        z->range >>= 1;
        uint32_t b = z->code >= z->range;
        if (b)
            z->code -= z->range;
        value = value << 1 | b;
    }
    return value;
}

/* Length trees have 8 entries per position state, of which index 0 is not used. */
static uint32_t length(plt_lzma *z, plt_lzma_length *l, uint32_t position)
{
    if (!bit(z, &l->choice[0]))
        return 2 + tree(z, l->low[position], 3);
    if (!bit(z, &l->choice[1]))
        return 10 + tree(z, l->mid[position], 3);
    return 18 + tree(z, l->high, 8);
}

static uint32_t distance(plt_lzma *z, uint32_t len)
{
    uint32_t slot = tree(z, z->slot[len - 2 < 3 ? len - 2 : 3], 6);
    if (slot < 4)
        return slot;
    uint32_t bits = (slot >> 1) - 1, d = (2 | (slot & 1)) << bits;
    if (slot < 14)
        return d + reverse_tree(z, z->special + d - slot, bits);
    d += direct(z, bits - 4) << 4;
    return d + reverse_tree(z, z->align, 4);
}

int plt_lzma_decode(plt_lzma *z, uint8_t properties, const uint8_t *in, size_t in_size,
                    uint8_t *out, size_t size)
{
    uint32_t lc = properties % 9, lp = properties / 9 % 5, pb = properties / 45;
    uint32_t rep[4] = {0, 0, 0, 0}, state = 0;
    size_t at = 0;

    if (properties >= 225 || lc + lp > PLT_LZMA_CONTEXT_BITS || in_size < 5 || in[0])
        return -1;
    /* Every member up to `range` is a probability, and begins at one half. */
    uint16_t *p = (uint16_t *)(void *)z;
    for (size_t i = 0; i < offsetof(plt_lzma, range) / sizeof *p; i++)
        p[i] = 1024;
    z->range = 0xffffffffu;
    z->code = (uint32_t)in[1] << 24 | (uint32_t)in[2] << 16 | (uint32_t)in[3] << 8 | in[4];
    z->in = in;
    z->position = 5;
    z->size = in_size;

    while (at < size) {
        uint32_t position = (uint32_t)at & ((1u << pb) - 1), len, d;

        if (z->position > z->size + 8)
            return -1;
        if (!bit(z, &z->is_match[state][position])) {
            uint32_t before = at ? out[at - 1] : 0;
            uint32_t context = (((uint32_t)at & ((1u << lp) - 1)) << lc) + (before >> (8 - lc));
            uint16_t *lit = z->literal + 0x300 * (size_t)context;
            uint32_t symbol = 1;
            if (state >= 7) {
                uint32_t match = out[at - rep[0] - 1];
                while (symbol < 0x100) {
                    uint32_t expected = match >> 7 & 1, b;
                    match <<= 1;
                    b = bit(z, &lit[((1 + expected) << 8) + symbol]);
                    symbol = symbol << 1 | b;
                    if (b != expected)
                        break;
                }
            }
            while (symbol < 0x100)
                symbol = symbol << 1 | bit(z, &lit[symbol]);
            out[at++] = (uint8_t)symbol;
            state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
            continue;
        }
        if (!bit(z, &z->is_rep[state])) {
            rep[3] = rep[2];
            rep[2] = rep[1];
            rep[1] = rep[0];
            len = length(z, &z->match, position);
            rep[0] = distance(z, len);
            state = state < 7 ? 7 : 10;
        } else {
            if (!at)
                return -1;
            if (!bit(z, &z->is_rep_far[0][state])) {
                if (!bit(z, &z->is_short_rep_off[state][position])) {
                    state = state < 7 ? 9 : 11;
                    if (rep[0] >= at)
                        return -1;
                    out[at] = out[at - rep[0] - 1];
                    at++;
                    continue;
                }
            } else {
                if (!bit(z, &z->is_rep_far[1][state])) {
                    d = rep[1];
                } else {
                    if (!bit(z, &z->is_rep_far[2][state])) {
                        d = rep[2];
                    } else {
                        d = rep[3];
                        rep[3] = rep[2];
                    }
                    rep[2] = rep[1];
                }
                rep[1] = rep[0];
                rep[0] = d;
            }
            len = length(z, &z->rep, position);
            state = state < 7 ? 8 : 11;
        }
        if (rep[0] >= at || len > size - at)
            return -1;
        for (; len; len--, at++)
            out[at] = out[at - rep[0] - 1];
    }
    return z->position > z->size + 8 ? -1 : 0;
}
