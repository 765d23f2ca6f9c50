/* Tables of plt_rans.h, written: frequencies near to what was counted that cost few bits. */
#include "plt_fast_encode.h"

#include <string.h>

enum {
    TOTAL = PLT_RANS_TOTAL,
    ONE = 4096,            /* a bit */
    PARTS = 16,            /* of a slot, in which wishes are told */
    PATIENCE = 256,        /* slots too many that double the price of one */
    EXACT = PLT_RANS_BITS - 1,
    MOST_KEPT = 3,         /* more bits of a frequency are not worth their room */
    ROOM = 256 * 5         /* bytes of the largest table */
};

/* A table as it grows. */
typedef struct {
    uint16_t frequency[256];
    uint8_t bits[ROOM];
    size_t count;          /* of the bits */
    plt_table_lengths lengths; /* seen so far */
} draft;

/* Of a number above 0, in 1/ONE: the mantissa's logarithm is read from a line between 16 points. */
static int64_t log2_of(uint32_t v)
{
    static const uint16_t points[17] = {0,    358,  696,  1016, 1319, 1607, 1882, 2145, 2396,
                                        2637, 2869, 3092, 3307, 3514, 3715, 3908, 4096};
    uint32_t length = plt_length_of(v), mantissa = (uint32_t)(((uint64_t)v << 24) >> (length - 1));
    uint32_t at = mantissa >> 20 & 15, between = mantissa & ((1 << 20) - 1);
    uint64_t more = (uint64_t)(points[at + 1] - points[at]) * between >> 20;
    return (int64_t)(length - 1) * ONE + points[at] + (int64_t)more;
}

static void begin(draft *d)
{
    memset(d, 0, sizeof *d);
    d->lengths = PLT_TABLE_BEGINS;
}

static void put_bits(draft *d, uint32_t value, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++, d->count++)
        d->bits[d->count >> 3] |= (uint8_t)((value >> i & 1) << (d->count & 7));
}

/* Bits that tell a length where another was expected. */
static uint32_t surprise(uint32_t length, uint32_t expected)
{
    return length > expected ? 2 * (length - expected) : 2 * (expected - length) + 1;
}

static void put_length(draft *d, uint32_t length)
{
    uint32_t bits = surprise(length, plt_table_expected(&d->lengths));
    put_bits(d, 0, bits - 1);
    put_bits(d, 1, 1);
    plt_table_seen(&d->lengths, length);
}

static void put_frequency(draft *d, uint32_t symbol, uint32_t frequency, uint32_t kept)
{
    uint32_t length = plt_length_of(frequency), told = plt_table_told(length, kept);

    d->frequency[symbol] = (uint16_t)frequency;
    put_length(d, length);
    put_bits(d, frequency >> (length - 1 - told), told); /* the leading one falls away */
}

/* `run` symbols do not occur: Elias' gamma code of how many. */
static void put_absent(draft *d, uint32_t run)
{
    uint32_t length = plt_length_of(run);

    put_length(d, 0);
    put_bits(d, 0, length - 1);
    put_bits(d, 1, 1);
    put_bits(d, run, length - 1);
}

/* The multiple of a length and so many bits behind its first that is nearest to a wish. */
static uint32_t nearest(int64_t wish, uint32_t length, uint32_t kept)
{
    uint32_t told = plt_table_told(length, kept), shift = length - 1 - told;
    int64_t unit = (int64_t)PARTS << shift, q = (wish + unit / 2) / unit;
    int64_t low = 1 << told, high = (2 << told) - 1;

    return (uint32_t)(q < low ? low : q > high ? high : q) << shift;
}

/* What one symbol costs in a draft: its bits in the table, the slots it takes from others, and what
 * its items come to, in 1/ONE; the frequency chosen, or 0, goes to `chosen`. */
static int64_t cheapest(uint32_t *chosen, int64_t wish, size_t count, int64_t price,
                        uint32_t expected, uint32_t kept)
{
    const uint32_t tried[4] = {plt_length_of((uint32_t)((wish + PARTS / 2) / PARTS)),
                               expected - 1, expected, expected + 1};
    int64_t least = INT64_MAX;

    *chosen = 0;
    for (int i = 0; i < 4; i++) {
        uint32_t length = tried[i];
        if (!length || length > PLT_RANS_BITS)
            continue;
        uint32_t v = nearest(wish, length, kept), told = plt_table_told(length, kept);
        int64_t cost = (int64_t)(surprise(length, expected) + told) * ONE + v * price -
                       (int64_t)count * log2_of(v);
        if (cost < least) {
            least = cost;
            *chosen = v;
        }
    }
    return least;
}

/* A draft that is less like the counts where that saves bits. Greedy: what a length does to those
 * after it is not looked at, and slots become dear where too many are gone. Fails if nothing, or
 * everything, is left for the symbol `rest`. */
static int write_cheaply(draft *d, const size_t *count, size_t items, uint32_t rest, uint32_t kept)
{
    const int64_t price = (int64_t)((items * 369) >> 8); /* of a slot: items / TOTAL / ln 2 bits */
    int64_t owed = 0, left = TOTAL;

    begin(d);
    for (uint32_t s = 0; s < 256; s++) {
        if (s == rest)
            continue;
        int64_t wish = (int64_t)((uint64_t)count[s] * TOTAL * PARTS / items);
        int64_t dear = price + price * owed / (PARTS * PATIENCE);
        uint32_t expected = plt_table_expected(&d->lengths), chosen;
        int64_t cost = cheapest(&chosen, wish, count[s], dear < price / 4 ? price / 4 : dear,
                                expected, kept);
        uint32_t run = 0, next = s;
        for (; next < 256 && (next == rest || !count[next]); next++)
            run += next != rest;
        if (run && (surprise(0, expected) + 2 * plt_length_of(run)) * (int64_t)ONE <= cost * run) {
            put_absent(d, run);
            s = next - 1;
            continue;
        }
        if (!chosen)
            return 0;
        put_frequency(d, s, chosen, kept);
        left -= chosen;
        owed += (int64_t)chosen * PARTS - wish;
    }
    d->frequency[rest] = (uint16_t)(left > 0 ? left : 0);
    return left > 0 && left < TOTAL;
}

/* Scales the counts to a sum of TOTAL, every symbol that occurs at least once and below TOTAL. */
static void normalise(uint16_t *frequency, const size_t *count, size_t items)
{
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
    /* a lone symbol leaves one part to another: no frequency has more than PLT_RANS_BITS bits */
    if (frequency[largest] == TOTAL) {
        frequency[largest]--;
        frequency[(largest + 1) & 255]++;
    }
}

/* A draft of the counts as they are. */
static void write_exactly(draft *d, const size_t *count, size_t items, uint32_t rest)
{
    begin(d);
    normalise(d->frequency, count, items);
    for (uint32_t s = 0; s < 256;) {
        uint32_t run = 0, next = s;
        for (; next < 256 && (next == rest || !d->frequency[next]); next++)
            run += next != rest;
        if (run)
            put_absent(d, run);
        if (next > s) {
            s = next;
        } else {
            put_frequency(d, s, d->frequency[s], EXACT);
            s++;
        }
    }
}

/* The table's bits and those of the symbols, in 1/ONE. */
static int64_t cost_of(const draft *d, const size_t *count)
{
    int64_t cost = (int64_t)d->count * ONE;
    for (uint32_t s = 0; s < 256; s++)
        if (count[s])
            cost += (int64_t)count[s] * (PLT_RANS_BITS * (int64_t)ONE - log2_of(d->frequency[s]));
    return cost;
}

void plt_put_table(plt_fast_encoder *e, plt_writer *w, uint32_t class, const size_t *count,
                   size_t items)
{
    draft drafts[2], *best = &drafts[0], *next = &drafts[1];
    int64_t least;
    uint32_t rest = 0, kept = EXACT;

    for (uint32_t s = 1; s < 256; s++)
        rest = count[s] > count[rest] ? s : rest;
    write_exactly(best, count, items, rest);
    least = cost_of(best, count);
    for (uint32_t k = 0; k <= MOST_KEPT; k++) {
        int64_t cost = write_cheaply(next, count, items, rest, k) ? cost_of(next, count) : least;
        if (cost < least) {
            draft *better = next;
            next = best;
            best = better;
            least = cost;
            kept = k;
        }
    }
    plt_put_byte(w, kept);
    plt_put_byte(w, rest);
    plt_put_bytes(w, best->bits, (best->count + 7) / 8);
    for (uint32_t s = 0, start = 0; s < 256; s++) {
        e->frequency[class][s] = best->frequency[s];
        e->start[class][s] = (uint16_t)start;
        start += best->frequency[s];
    }
}
