/* Planes of bytes with one static table each, coded by asymmetric numeral systems.
 *
 * The systems (rANS) are due to J. Duda (arXiv:1311.2540), the interleaving of several states in
 * one stream to F. Giesen (arXiv:1402.3392). Each state is a 32-bit number of at least 2^16 that is
 * refilled by 16 bits. Long planes have states that take turns, so that the processor works on all
 * of them at once.
 */
#ifndef PLT_RANS_H
#define PLT_RANS_H

#include "plt_reader.h"

enum {
    PLT_RANS_BITS = 12,
    PLT_RANS_TOTAL = 1 << PLT_RANS_BITS,
    PLT_RANS_STATES = 8,
    PLT_RANS_LONG = 1 << 12 /* fewer symbols have one state: the others' first bytes are saved */
};

enum plt_plane_mode { PLT_PLANE_STORED, PLT_PLANE_CODED, PLT_PLANE_CONSTANT };

/* Every slot has its symbol, the symbol's frequency << 8, and the distance into it << 20. */
typedef uint32_t plt_slots[PLT_RANS_TOTAL];

/* A stream of symbols that is being read. */
typedef struct {
    uint32_t states, turn, state[PLT_RANS_STATES];
    plt_reader words;
} plt_rans;

/* A plane that is being read, part by part. */
typedef struct {
    uint32_t mode;
    const uint32_t *slots;
    plt_rans rans;
    const uint8_t *stored;
    uint8_t constant;
} plt_plane;

static inline uint32_t plt_rans_states(uint64_t items)
{
    return items < PLT_RANS_LONG ? 1 : PLT_RANS_STATES;
}

/* Bits of a number, from its first 1 on. */
static inline uint32_t plt_length_of(uint32_t v)
{
    uint32_t length = 0;
    for (; v; v >>= 1)
        length++;
    return length;
}

/* A table tells how long the frequency of a symbol is, as compared to those of the two before it,
 * and then some of its bits. */
typedef struct {
    uint32_t last, before;
} plt_table_lengths;

static const plt_table_lengths PLT_TABLE_BEGINS = {3, 3};

static inline uint32_t plt_table_expected(const plt_table_lengths *t)
{
    return (t->last + t->before + 1) / 2;
}

static inline void plt_table_seen(plt_table_lengths *t, uint32_t length)
{
    t->before = t->last;
    t->last = length ? length : 1;
}

/* How many of the bits behind the first are told. */
static inline uint32_t plt_table_told(uint32_t length, uint32_t kept)
{
    return length - 1 < kept ? length - 1 : kept;
}

/* Frequencies of all 256 symbols. */
void plt_rans_table(uint32_t *slots, plt_reader *r);
void plt_rans_open(plt_rans *s, plt_reader *r, uint64_t items);

/* The next symbol. Words past the end read as zeros; the checksums over the result find it. */
static inline uint8_t plt_rans_next(plt_rans *s, const uint32_t *slots)
{
    uint32_t x = s->state[s->turn], e = slots[x & (PLT_RANS_TOTAL - 1)];
    x = (e >> 8 & (PLT_RANS_TOTAL - 1)) * (x >> PLT_RANS_BITS) + (e >> 20);
    if (x < 1u << 16) {
        uint32_t word = 0;
        if (s->words.end - s->words.at >= 2) {
            word = s->words.at[0] | (uint32_t)s->words.at[1] << 8;
            s->words.at += 2;
        }
        x = x << 16 | word;
    }
    s->state[s->turn] = x;
    s->turn = s->turn + 1 < s->states ? s->turn + 1 : 0;
    return (uint8_t)e;
}

/* `slots` is where its table may go. */
void plt_plane_open(plt_plane *p, plt_reader *r, uint64_t items, uint32_t *slots);
void plt_plane_read(plt_plane *p, uint8_t *out, size_t count);

#endif
