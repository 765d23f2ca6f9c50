/* See plt_fast.h; the layout is in docs/format.md, "Fast chunks". */
#include "plt_fast.h"

#include <string.h>

enum { TOTAL = 1 << PLT_FAST_BITS, STATES = 4 };
enum { PLANE_STORED, PLANE_CODED, PLANE_CONSTANT };

typedef struct {
    const uint8_t *at, *end;
    int failed;
} reader;

static uint64_t read_number(reader *r)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 56 && r->at < r->end; shift += 7) {
        uint8_t byte = *r->at++;
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return value;
    }
    r->failed = 1;
    return 0;
}

static const uint8_t *read_bytes(reader *r, uint64_t count)
{
    static const uint8_t nothing[1];
    const uint8_t *at = r->at;
    if (count > (uint64_t)(r->end - r->at)) {
        r->failed = 1;
        return nothing;
    }
    r->at += count;
    return at;
}

static uint8_t read_byte(reader *r)
{
    const uint8_t *p = read_bytes(r, 1);
    return *p;
}

/* Frequencies of all 256 symbols: a number each, a zero followed by how many more zeros. */
static void read_table(uint32_t *slot, reader *r)
{
    uint32_t sum = 0;
    for (uint32_t s = 0; s < 256;) {
        uint64_t n = read_number(r);
        if (n == 0) {
            s += 1u + read_byte(r);
        } else if (n < TOTAL && sum + n <= TOTAL) {
            for (uint32_t i = 0; i < n; i++)
                slot[sum + i] = s | (uint32_t)n << 8 | i << 20;
            sum += (uint32_t)n;
            s++;
        } else {
            r->failed = 1;
        }
        if (r->failed || s > 256) {
            r->failed = 1;
            return;
        }
    }
    r->failed |= sum != TOTAL;
}

/* A plane that is being read, block by block. */
typedef struct {
    uint32_t mode, state[STATES];
    reader words;
    const uint8_t *stored;
    uint8_t constant;
} plane;

static void open_plane(plt_fast *f, reader *r, plane *p, uint64_t items)
{
    p->mode = read_byte(r);
    if (p->mode == PLANE_STORED) {
        p->stored = read_bytes(r, items);
    } else if (p->mode == PLANE_CONSTANT) {
        p->constant = read_byte(r);
    } else if (p->mode == PLANE_CODED) {
        read_table(f->slot, r);
        uint64_t size = read_number(r);
        const uint8_t *data = read_bytes(r, size);
        if (r->failed || size < 4 * STATES) {
            r->failed = 1;
            return;
        }
        p->words = (reader){data, data + size, 0};
        for (int i = 0; i < STATES; i++) {
            const uint8_t *b = read_bytes(&p->words, 4);
            p->state[i] = b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
        }
    } else {
        r->failed = 1;
    }
}

/* Words past the end read as zeros; the checksums over the result find it. */
static inline uint32_t step(const uint32_t *slot, uint32_t x, reader *w, uint8_t *out)
{
    uint32_t e = slot[x & (TOTAL - 1)];
    *out = (uint8_t)e;
    x = (e >> 8 & (TOTAL - 1)) * (x >> PLT_FAST_BITS) + (e >> 20);
    if (x < 1u << 16) {
        uint32_t word = 0;
        if (w->end - w->at >= 2) {
            word = w->at[0] | (uint32_t)w->at[1] << 8;
            w->at += 2;
        }
        x = x << 16 | word;
    }
    return x;
}

/* As step(), where at least two bytes are known to be left. */
static inline uint32_t quick_step(const uint32_t *slot, uint32_t x, const uint8_t **at,
                                  uint8_t *out)
{
    uint32_t e = slot[x & (TOTAL - 1)];
    *out = (uint8_t)e;
    x = (e >> 8 & (TOTAL - 1)) * (x >> PLT_FAST_BITS) + (e >> 20);
    uint32_t refill = x << 16 | (*at)[0] | (uint32_t)(*at)[1] << 8;
    uint32_t low = x < 1u << 16;
    *at += 2 * low;
    return low ? refill : x;
}

static void read_block(const plt_fast *f, plane *p, uint8_t *block, size_t count)
{
    size_t i = 0;

    if (p->mode == PLANE_STORED) {
        memcpy(block, p->stored, count);
        p->stored += count;
        return;
    }
    if (p->mode == PLANE_CONSTANT) {
        memset(block, p->constant, count);
        return;
    }
    uint32_t a = p->state[0], b = p->state[1], c = p->state[2], d = p->state[3];
    const uint8_t *at = p->words.at;
    for (; i + 4 <= count && p->words.end - at >= 8; i += 4) {
        a = quick_step(f->slot, a, &at, block + i);
        b = quick_step(f->slot, b, &at, block + i + 1);
        c = quick_step(f->slot, c, &at, block + i + 2);
        d = quick_step(f->slot, d, &at, block + i + 3);
    }
    p->words.at = at;
    p->state[0] = a;
    p->state[1] = b;
    p->state[2] = c;
    p->state[3] = d;
    for (; i < count; i++)
        p->state[i % STATES] = step(f->slot, p->state[i % STATES], &p->words, block + i);
}

static void decode_planes(plt_fast *f, reader *r, uint8_t *out, uint32_t width, uint64_t items)
{
    for (uint32_t k = 0; k < width && !r->failed; k++) {
        plane p = {0};
        open_plane(f, r, &p, items);
        if (r->failed)
            return;
        for (uint64_t done = 0; done < items;) {
            size_t n = items - done < PLT_FAST_BLOCK ? (size_t)(items - done) : PLT_FAST_BLOCK;
            uint8_t *to = out + done * width + k;
            if (width == 1) {
                read_block(f, &p, to, n);
            } else {
                read_block(f, &p, f->block, n);
                for (size_t i = 0; i < n; i++)
                    to[i * width] = f->block[i];
            }
            done += n;
        }
    }
}

static void read_palette(plt_fast *f, reader *r, uint32_t width)
{
    uint64_t count = read_number(r);
    r->failed |= !count || count > 256;
    const uint8_t *values = read_bytes(r, r->failed ? 0 : count * width);
    memset(f->palette, 0, sizeof f->palette);
    if (!r->failed)
        memcpy(f->palette, values, (size_t)count * width);
}

static void decode_palette(plt_fast *f, reader *r, uint8_t *out, uint32_t width, uint64_t items)
{
    plane p = {0};

    read_palette(f, r, width);
    if (!r->failed)
        open_plane(f, r, &p, items);
    if (r->failed)
        return;
    for (uint64_t done = 0; done < items;) {
        size_t n = items - done < PLT_FAST_BLOCK ? (size_t)(items - done) : PLT_FAST_BLOCK;
        read_block(f, &p, f->block, n);
        for (size_t i = 0; i < n; i++, out += width)
            if (width == 4)
                memcpy(out, f->palette + 4 * (size_t)f->block[i], 4);
            else
                memcpy(out, f->palette + width * (size_t)f->block[i], width);
        done += n;
    }
}

static void read_kernel(plt_fast_kernel *k, reader *r, uint32_t width)
{
    k->flip = read_byte(r);
    k->centre = read_byte(r);
    k->taps = read_byte(r);
    uint64_t stride = read_number(r);
    k->shift = read_byte(r);
    k->reach = read_byte(r);
    r->failed |= k->taps < 2 || k->taps > PLT_FAST_TAPS || !stride || stride >> 31 || !k->shift ||
                 k->shift > 15 || k->reach > PLT_FAST_REACH || (stride > 1 && width > 1);
    k->stride = (uint32_t)stride;
    for (uint32_t t = 1; t < k->taps && !r->failed; t++)
        for (uint32_t back = 0; back < t && back < PLT_FAST_BACK; back++)
            k->weight[t][back] = (int8_t)read_byte(r);
}

/* The class of a prediction, in 1/64 of a level. */
static uint32_t class_of(const plt_fast_kernel *k, int32_t predicted)
{
    int32_t reach = (int32_t)k->reach;
    predicted = (predicted + (1 << (k->shift - 1))) >> k->shift;
    return (uint32_t)((predicted > reach ? reach : predicted < -reach ? -reach : predicted) + reach);
}

static void decode_kernels(plt_fast *f, reader *r, uint8_t *out, uint32_t width, uint64_t items)
{
    plt_fast_kernel *k = &f->kernel;
    int32_t before[PLT_FAST_TAPS] = {0};
    uint32_t tap = 0, inside = 0;

    if (width > 1)
        read_palette(f, r, width);
    if (!r->failed)
        read_kernel(k, r, width);
    for (uint32_t c = 0; c < 2 * k->reach + 1 && !r->failed; c++) {
        memset(f->slots[c], 0, sizeof f->slots[c]);
        if (read_byte(r))
            read_table(f->slots[c], r);
    }
    uint64_t size = r->failed ? 0 : read_number(r);
    const uint8_t *data = read_bytes(r, size);
    r->failed |= size < 4 * STATES;
    if (r->failed)
        return;
    reader words = {data, data + size, 0};
    uint32_t state[STATES];
    for (int i = 0; i < STATES; i++) {
        const uint8_t *b = read_bytes(&words, 4);
        state[i] = b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
    }
    for (uint64_t i = 0; i < items; i++, out += width) {
        int32_t predicted = 0;
        uint32_t back = tap < PLT_FAST_BACK ? tap : PLT_FAST_BACK;
        uint8_t symbol;
        if (k->stride == 1)
            for (uint32_t b = 0; b < back; b++)
                predicted += k->weight[tap][b] * before[tap - 1 - b];
        else
            for (uint32_t b = 0; b < back; b++)
                predicted += k->weight[tap][b] *
                             ((int32_t)(*(out - (size_t)(b + 1) * k->stride) ^ k->flip) -
                              (int32_t)k->centre);
        uint32_t *x = &state[i % STATES];
        *x = step(f->slots[class_of(k, predicted)], *x, &words, &symbol);
        before[tap] = (int32_t)symbol - (int32_t)k->centre;
        if (width == 1)
            *out = (uint8_t)(symbol ^ k->flip);
        else
            memcpy(out, f->palette + width * (size_t)symbol, width);
        if (++inside == k->stride) {
            inside = 0;
            tap = tap + 1 < k->taps ? tap + 1 : 0;
        }
    }
}

int plt_fast_decode(plt_fast *f, const uint8_t *in, size_t in_size, uint8_t *out, size_t size)
{
    reader r = {in, in + in_size, 0};
    size_t at = 0;

    while (at < size && !r.failed) {
        uint32_t kind = read_byte(&r), width = kind == PLT_FAST_STORED ? 1 : read_byte(&r);
        uint64_t items = read_number(&r);
        if (r.failed || !width || width > 8 || !items || items > (size - at) / width)
            return -1;
        if (kind == PLT_FAST_STORED) {
            const uint8_t *bytes = read_bytes(&r, items);
            if (!r.failed)
                memcpy(out + at, bytes, (size_t)items);
        } else if (kind == PLT_FAST_PLANES) {
            decode_planes(f, &r, out + at, width, items);
        } else if (kind == PLT_FAST_PALETTE) {
            decode_palette(f, &r, out + at, width, items);
        } else if (kind == PLT_FAST_KERNELS) {
            decode_kernels(f, &r, out + at, width, items);
        } else {
            return -1;
        }
        at += (size_t)items * width;
    }
    return r.failed || r.at != r.end ? -1 : 0;
}
