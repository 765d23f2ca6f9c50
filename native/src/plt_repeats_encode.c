/* Bytes as literals and matches; see plt_fast.h. Chains of places with the same hash are searched
 * for what saves most bits, and a match waits if the next place has a better one. */
#include "plt_fast_encode.h"

enum { LONGEST = 255 + PLT_FAST_MATCH - 1, DEPTH = 48, LITERAL_BITS = 6 };

typedef struct {
    size_t length, distance;
    long saved;              /* bits, about */
} match;

/* Sequences so far, plane by plane, and their literals. */
typedef struct {
    uint8_t *plane[PLT_REPEAT_PLANES];
    size_t count, literals;
} sequences;

static uint32_t hash(const uint8_t *p)
{
    return plt_load32(p) * 0x9e3779b1u >> (32 - PLT_INDEX_BITS);
}

static void index_to(plt_index *index, const uint8_t *raw, size_t end)
{
    for (; index->end < end; index->end++) {
        uint32_t *head = &index->head[hash(raw + index->end)];
        index->before[index->end] = *head;
        *head = index->end + 1;
    }
}

static size_t same(const uint8_t *raw, size_t at, size_t distance, size_t most)
{
    size_t n = 0;
    while (n < most && raw[at + n] == raw[at + n - distance])
        n++;
    return n;
}

static void consider(match *best, const uint8_t *raw, size_t at, size_t distance, size_t most,
                     long price)
{
    size_t n = same(raw, at, distance, most);
    long saved = (long)n * LITERAL_BITS - price;
    if (n >= PLT_FAST_MATCH && saved > best->saved)
        *best = (match){n, distance, saved};
}

/* The best match at `at`; `last` is how far back the one before was. */
static match find(plt_index *index, const uint8_t *raw, size_t at, size_t to, size_t last)
{
    match best = {0};
    size_t most = to - at < LONGEST ? to - at : LONGEST;

    if (most < PLT_FAST_MATCH)
        return best;
    index_to(index, raw, at);
    if (last && last <= at)
        consider(&best, raw, at, last, most, 6);
    uint32_t place = index->head[hash(raw + at)];
    for (int n = 0; place && n < DEPTH && best.length < most; n++) {
        long price = 12;
        /* a trial before may have indexed more than what lies before `at` */
        for (size_t d = place <= at ? at - place + 1 : 0; d > 1; d >>= 1)
            price++;
        if (place <= at)
            consider(&best, raw, at, at - place + 1, most, price);
        place = index->before[place - 1];
    }
    return best;
}

static void add(sequences *s, size_t literals, size_t length, size_t distance)
{
    s->plane[PLT_REPEAT_LITERALS][s->count] = (uint8_t)literals;
    s->plane[PLT_REPEAT_LENGTH][s->count] =
        (uint8_t)(length ? length - (PLT_FAST_MATCH - 1) : 0);
    for (int b = 0; b < 3; b++)
        s->plane[PLT_REPEAT_DISTANCE + b][s->count] = (uint8_t)(distance >> 8 * b);
    s->count++;
}

/* `last` is a distance worth looking at first. */
static void parse(plt_index *index, const uint8_t *raw, size_t from, size_t to, size_t last,
                  sequences *s)
{
    size_t told = 0, plain = 0;

    if (index->end < from) /* what lies between records of repeats is not looked for */
        index->end = (uint32_t)from;

    for (size_t at = from; at < to;) {
        match m = find(index, raw, at, to, last);
        if (m.length && at + 1 < to && m.length < LONGEST &&
            find(index, raw, at + 1, to, last).saved > m.saved)
            m.length = 0;
        if (!m.length) {
            s->plane[PLT_REPEAT_BYTES][s->literals++] = raw[at++];
            if (++plain == 256) {
                add(s, 255, 0, 0);
                plain = 1;
            }
            continue;
        }
        add(s, plain, m.length, m.distance == told ? 0 : m.distance);
        told = last = m.distance;
        plain = 0;
        at += m.length;
    }
}

/* At most a match every PLT_FAST_MATCH bytes, and literals without one every 255. */
static size_t most_sequences(size_t size)
{
    return size / PLT_FAST_MATCH + size / 255 + 1;
}

size_t plt_repeats_room(size_t size)
{
    return PLT_REPEAT_BYTES * most_sequences(size) + size;
}

size_t plt_fast_encode_repeats(plt_fast_encoder *e, plt_index *index, const uint8_t *raw,
                               size_t from, size_t to, size_t likely, uint8_t *room,
                               uint8_t *out, size_t capacity)
{
    plt_writer w = {out, out + capacity, 0};
    sequences s = {.count = 0};

    for (int k = 0; k < PLT_REPEAT_PLANES; k++, room += most_sequences(to - from))
        s.plane[k] = room;
    parse(index, raw, from, to, likely, &s);
    plt_put_byte(&w, PLT_FAST_REPEATS);
    plt_put_number(&w, to - from);
    plt_put_number(&w, s.count);
    for (int k = 0; k < PLT_REPEAT_BYTES && s.count; k++)
        plt_put_plane(e, &w, s.plane[k], s.count);
    plt_put_number(&w, s.literals);
    if (s.literals)
        plt_put_plane(e, &w, s.plane[PLT_REPEAT_BYTES], s.literals);
    return w.failed ? 0 : (size_t)(w.at - out);
}
