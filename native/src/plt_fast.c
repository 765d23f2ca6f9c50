/* See plt_fast.h; the layout is in docs/format.md, "Fast chunks". */
#include "plt_fast.h"

#include "plt_fp32.h"
#include "plt_trellis.h"

#include <string.h>

/* How many of `left` items make the next block. */
static size_t part_of(uint64_t left, size_t block)
{
    return left < block ? (size_t)left : block;
}

static void decode_planes(plt_fast *f, plt_reader *r, uint8_t *out, uint32_t width, uint64_t items)
{
    for (uint32_t k = 0; k < width && !r->failed; k++) {
        plt_plane p;
        plt_plane_open(&p, r, items, f->slots[0]);
        if (r->failed)
            return;
        for (uint64_t done = 0; done < items;) {
            size_t n = part_of(items - done, PLT_FAST_BLOCK);
            uint8_t *to = out + done * width + k;
            if (width == 1) {
                plt_plane_read(&p, to, n);
            } else {
                plt_plane_read(&p, f->block, n);
                for (size_t i = 0; i < n; i++)
                    to[i * width] = f->block[i];
            }
            done += n;
        }
    }
}

static void read_palette(plt_fast *f, plt_reader *r, uint32_t width)
{
    uint64_t count = plt_read_number(r);
    r->failed |= !count || count > 256;
    const uint8_t *values = r->failed ? 0 : plt_read_bytes(r, count * width);
    memset(f->palette, 0, sizeof f->palette);
    if (values)
        memcpy(f->palette, values, (size_t)count * width);
}

static void decode_palette(plt_fast *f, plt_reader *r, uint8_t *out, uint32_t width, uint64_t items)
{
    plt_plane p;

    read_palette(f, r, width);
    if (!r->failed)
        plt_plane_open(&p, r, items, f->slots[0]);
    if (r->failed)
        return;
    for (uint64_t done = 0; done < items;) {
        size_t n = part_of(items - done, PLT_FAST_BLOCK);
        plt_plane_read(&p, f->block, n);
        for (size_t i = 0; i < n; i++, out += width)
            if (width == 4)
                memcpy(out, f->palette + 4 * (size_t)f->block[i], 4);
            else
                memcpy(out, f->palette + width * (size_t)f->block[i], width);
        done += n;
    }
}

/* Where in a trellis the next item is. */
typedef struct {
    uint32_t along;          /* it runs along the rows, not down the columns */
    uint32_t columns, column;
    uint8_t *state;          /* of every column, or of the row */
} path;

static path read_path(plt_fast *f, plt_reader *r)
{
    path p = {.along = plt_read_byte(r), .state = f->state};
    uint64_t columns = plt_read_number(r);

    r->failed |= p.along > 1 || !columns || columns >> 31 ||
                 (!p.along && columns > PLT_FAST_COLUMNS);
    p.columns = (uint32_t)columns;
    memset(p.state, 0, r->failed || p.along ? 1 : (size_t)columns);
    return p;
}

/* The state at the next item; a path along the rows begins anew in each. */
static inline uint8_t *state_of(const path *p)
{
    if (p->along && !p->column)
        p->state[0] = 0;
    return &p->state[p->along ? 0 : p->column];
}

/* The item that an index stands for; the state moves on. */
static inline uint8_t level_of(uint8_t *state, uint8_t symbol)
{
    uint8_t grid = *state & 1, above = symbol && symbol < 128, below = symbol >> 7;
    *state = plt_trellis_after(*state, symbol);
    return (uint8_t)(2 * symbol - (grid & above) + (grid & below));
}

static inline void step(path *p)
{
    p->column = p->column + 1 < p->columns ? p->column + 1 : 0;
}

/* Items of one row, each of a column of its own. */
static void follow_columns(uint8_t *restrict state, uint8_t *restrict out, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = level_of(&state[i], out[i]);
}

static void decode_trellis(plt_fast *f, plt_reader *r, uint8_t *out, uint64_t items)
{
    plt_plane plane;
    path p = read_path(f, r);

    if (!r->failed)
        plt_plane_open(&plane, r, items, f->slots[0]);
    while (items && !r->failed) {
        size_t n = part_of(items, PLT_FAST_BLOCK);
        plt_plane_read(&plane, out, n);
        items -= n;
        while (n) { /* what is in one row */
            size_t count = part_of(p.columns - p.column, n);
            uint8_t *state = state_of(&p);
            if (p.along)
                for (size_t i = 0; i < count; i++)
                    out[i] = level_of(state, out[i]);
            else
                follow_columns(state, out, count);
            out += count;
            n -= count;
            p.column = p.column + count < p.columns ? p.column + (uint32_t)count : 0;
        }
    }
}

static void read_kernel(plt_fast_kernel *k, plt_reader *r, uint32_t width, int trellis)
{
    k->flip = k->centre = 128; /* items along a trellis are signed */
    if (!trellis) {
        k->flip = plt_read_byte(r);
        k->centre = plt_read_byte(r);
    }
    k->taps = plt_read_byte(r);
    uint64_t stride = plt_read_number(r);
    k->shift = plt_read_byte(r);
    k->reach = plt_read_byte(r);
    r->failed |= k->taps + (uint32_t)trellis < 2 || k->taps > PLT_FAST_TAPS || !stride || stride >> 31 || !k->shift ||
                 k->shift > 15 || k->reach > PLT_FAST_REACH || (stride > 1 && width > 1);
    k->stride = (uint32_t)stride;
    for (uint32_t t = 1; t < k->taps && !r->failed; t++)
        for (uint32_t back = 0; back < t && back < PLT_FAST_BACK; back++)
            k->weight[t][back] = (int8_t)plt_read_byte(r);
}

/* The class of a prediction, in 1/64 of a level. */
static uint32_t class_of(const plt_fast_kernel *k, int32_t predicted)
{
    int32_t reach = (int32_t)k->reach;
    predicted = (predicted + (1 << (k->shift - 1))) >> k->shift;
    return (uint32_t)((predicted > reach ? reach : predicted < -reach ? -reach : predicted) + reach);
}

static inline void decode_kernels(plt_fast *f, plt_reader *r, uint8_t *out, uint32_t width,
                                  uint64_t items, int trellis)
{
    plt_fast_kernel *k = &f->kernel;
    int32_t before[PLT_FAST_TAPS] = {0};
    uint32_t tap = 0, inside = 0;
    path p = {0};

    if (width > 1)
        read_palette(f, r, width);
    if (trellis)
        p = read_path(f, r);
    if (!r->failed)
        read_kernel(k, r, width, trellis);
    uint32_t classes = r->failed ? 0 : 2 * k->reach + 1;
    for (uint32_t c = 0; c < (trellis ? 2 : 1) * classes && !r->failed; c++) {
        memset(f->slots[c], 0, sizeof f->slots[c]);
        if (plt_read_byte(r))
            plt_rans_table(f->slots[c], r);
    }
    plt_rans s;
    if (!r->failed)
        plt_rans_open(&s, r, items);
    if (r->failed)
        return;
    for (uint64_t i = 0; i < items; i++, out += width) {
        int32_t predicted = 0;
        uint32_t back = tap < PLT_FAST_BACK ? tap : PLT_FAST_BACK;
        if (k->stride == 1)
            for (uint32_t b = 0; b < back; b++)
                predicted += k->weight[tap][b] * before[tap - 1 - b];
        else
            for (uint32_t b = 0; b < back; b++)
                predicted += k->weight[tap][b] *
                             ((int32_t)(*(out - (size_t)(b + 1) * k->stride) ^ k->flip) -
                              (int32_t)k->centre);
        uint32_t class = class_of(k, predicted);
        uint8_t symbol, *state = 0;
        if (trellis) {
            state = state_of(&p);
            class += (*state & 1u) * classes;
        }
        symbol = plt_rans_next(&s, f->slots[class]);
        if (trellis) {
            symbol = level_of(state, symbol) ^ 128;
            step(&p);
        }
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

/* A match, byte by byte where it overlaps itself. */
static void copy_match(uint8_t *out, size_t distance, size_t length)
{
    const uint8_t *from = out - distance;

    if (distance >= length)
        memcpy(out, from, length);
    else
        for (size_t i = 0; i < length; i++)
            out[i] = from[i];
}

/* `out` has `before` bytes in front of it that matches may take from. */
static void decode_repeats(plt_fast *f, plt_reader *r, uint8_t *out, size_t before, size_t size)
{
    enum { PART = PLT_FAST_BLOCK / 8 };
    plt_plane p[PLT_REPEAT_PLANES];
    uint8_t(*part)[PART] = (uint8_t(*)[PART])f->block;
    uint64_t sequences = plt_read_number(r);
    size_t at = 0, distance = 0;

    r->failed |= sequences > size; /* or nothing would bound the time they take */
    for (int k = 0; k < PLT_REPEAT_BYTES && sequences && !r->failed; k++)
        plt_plane_open(&p[k], r, sequences, f->slots[k]);
    uint64_t literals = r->failed ? 0 : plt_read_number(r);
    r->failed |= literals > size;
    if (literals && !r->failed)
        plt_plane_open(&p[PLT_REPEAT_BYTES], r, literals, f->slots[PLT_REPEAT_BYTES]);
    for (uint64_t done = 0; done < sequences && !r->failed;) {
        size_t n = part_of(sequences - done, PART);
        for (int k = 0; k < PLT_REPEAT_BYTES; k++)
            plt_plane_read(&p[k], part[k], n);
        for (size_t i = 0; i < n; i++) {
            size_t plain = part[PLT_REPEAT_LITERALS][i], length = part[PLT_REPEAT_LENGTH][i];
            size_t far = part[PLT_REPEAT_DISTANCE][i] |
                         (size_t)part[PLT_REPEAT_DISTANCE + 1][i] << 8 |
                         (size_t)part[PLT_REPEAT_DISTANCE + 2][i] << 16;
            length += length ? PLT_FAST_MATCH - 1 : 0;
            distance = far ? far : distance;
            if (plain > literals || plain + length > size - at ||
                (length && (!distance || distance > before + at + plain))) {
                r->failed = 1;
                return;
            }
            if (plain)
                plt_plane_read(&p[PLT_REPEAT_BYTES], out + at, plain);
            literals -= plain;
            at += plain;
            if (length)
                copy_match(out + at, distance, length);
            at += length;
        }
        done += n;
    }
    r->failed |= size - at != literals;
    if (!r->failed && literals)
        plt_plane_read(&p[PLT_REPEAT_BYTES], out + at, size - at);
}

/* The next byte of each of four planes, lowest first. */
static uint32_t next_word(plt_plane *planes)
{
    uint8_t bytes[4];
    for (int b = 0; b < 4; b++)
        plt_plane_read(&planes[b], &bytes[b], 1);
    return plt_load32(bytes);
}

/* fp32 numbers that are those before, times a factor, but for the steps that a plane tells; where it
 * has no step, four others tell how far off they are. */
static void decode_product(plt_fast *f, plt_reader *r, uint8_t *out, size_t before, uint64_t items)
{
    uint64_t distance = plt_read_number(r);
    uint32_t factor = plt_read_word(r);
    plt_plane steps, off[4];

    r->failed |= distance < 4 || distance > before;
    if (!r->failed)
        plt_plane_open(&steps, r, items, f->slots[0]);
    uint64_t far = r->failed ? 0 : plt_read_number(r);
    r->failed |= far > items;
    for (int b = 0; b < 4 && far && !r->failed; b++)
        plt_plane_open(&off[b], r, far, f->slots[1 + b]);
    for (uint64_t done = 0; done < items && !r->failed;) {
        size_t n = part_of(items - done, PLT_FAST_BLOCK);
        plt_plane_read(&steps, f->block, n);
        for (size_t i = 0; i < n; i++, out += 4) {
            uint32_t v = plt_fp32_multiply(plt_load32(out - distance), factor);
            if (f->block[i]) {
                v += f->block[i] - 128u;
            } else if (far) {
                v += next_word(off);
                far--;
            } else {
                r->failed = 1;
            }
            for (int b = 0; b < 4; b++)
                out[b] = (uint8_t)(v >> 8 * b);
        }
        done += n;
    }
    r->failed |= far != 0;
}

int plt_fast_decode(plt_fast *f, const uint8_t *in, size_t in_size, uint8_t *out, size_t size)
{
    plt_reader r = {in, in + in_size, 0};
    size_t at = 0;

    while (at < size && !r.failed) {
        uint32_t kind = plt_read_byte(&r);
        int bytes = kind == PLT_FAST_STORED || kind == PLT_FAST_REPEATS ||
                    kind == PLT_FAST_TRELLIS || kind == PLT_FAST_TRELLIS_KERNELS;
        uint32_t width = bytes ? 1 : kind == PLT_FAST_PRODUCT ? 4 : plt_read_byte(&r);
        uint64_t items = plt_read_number(&r);
        if (r.failed || !width || width > 8 || !items || items > (size - at) / width)
            return -1;
        if (kind == PLT_FAST_STORED) {
            const uint8_t *stored = plt_read_bytes(&r, items);
            if (stored)
                memcpy(out + at, stored, (size_t)items);
        } else if (kind == PLT_FAST_PLANES) {
            decode_planes(f, &r, out + at, width, items);
        } else if (kind == PLT_FAST_PALETTE) {
            decode_palette(f, &r, out + at, width, items);
        } else if (kind == PLT_FAST_KERNELS) {
            decode_kernels(f, &r, out + at, width, items, 0);
        } else if (kind == PLT_FAST_REPEATS) {
            decode_repeats(f, &r, out + at, at, (size_t)items);
        } else if (kind == PLT_FAST_PRODUCT) {
            decode_product(f, &r, out + at, at, items);
        } else if (kind == PLT_FAST_TRELLIS) {
            decode_trellis(f, &r, out + at, items);
        } else if (kind == PLT_FAST_TRELLIS_KERNELS) {
            decode_kernels(f, &r, out + at, 1, items, 1);
        } else {
            return -1;
        }
        at += (size_t)items * width;
    }
    return r.failed || r.at != r.end ? -1 : 0;
}
