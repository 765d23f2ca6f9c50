/* See plt_chunk.h; docs/format.md, "Modelled chunks", is the same in words. */
#include "plt_chunk.h"

#include "plt_fp32.h"

#include <string.h>

/* Which number is coded: every one adapts on its own. */
enum {
    N_KIND, N_LENGTH, N_DISTANCE, N_FACTOR, N_ITEM, N_ROWS, N_CHANNELS, N_TAPS, N_TAP_WIDTH,
    N_ORDER, N_CENTRE, N_LOWEST, N_HIGHEST, N_FORMAT, N_LARGEST, N_ZERO_BITS, N_MODEL_BITS,
    N_PALETTE_SIZE, N_PALETTE_ZERO, N_PALETTE_GAP, N_DIFFERENCE, N_REFERENCE, N_BASE_LENGTH,
    N_TOLD_FROM, N_WEIGHTS, N_SIDE, N_ALONG, N_AGAIN
};

/* What a tensor is told from. */
enum { FROM_NOTHING, FROM_BASE, FROM_CHUNK };

void plt_state_init(plt_state *s)
{
    memset(s, 0, sizeof *s);
    plt_model_init(&s->model);
    plt_bytes_init(&s->bytes, &s->model.tables);
    for (size_t i = 0; i < PLT_NUMBERS; i++)
        for (size_t j = 0; j < 96; j++)
            s->number[i][j] = PLT_COUNTER_NEW;
    for (size_t i = 0; i < PLT_FLAGS; i++)
        s->flag[i] = PLT_COUNTER_NEW;
}

static int adaptive_bit(plt_state *s, plt_range *rc, plt_counter *c, int bit)
{
    uint32_t p = plt_counter_p16(*c);
    bit = plt_bit(rc, bit, p < 64 ? 64 : p > 65472 ? 65472 : p);
    plt_counter_update(&s->model.tables, c, bit, 60);
    return bit;
}

/* Codes a number: the count of its bits in unary, then its bits; the first three adapt. */
static uint32_t code_number(plt_state *s, plt_range *rc, int which, uint32_t value)
{
    plt_counter *c = s->number[which];
    uint64_t v = (uint64_t)value + 1, got = 1;
    uint32_t bits = 0;

    while (bits < 32 && adaptive_bit(s, rc, &c[bits], v >> (bits + 1) != 0))
        bits++;
    for (uint32_t left = bits; left-- > 0;) {
        uint32_t done = bits - 1 - left, bit = (uint32_t)(v >> left & 1);
        if (bits < 6 && done == 0)
            bit = (uint32_t)adaptive_bit(s, rc, &c[33 + bits], (int)bit);
        else if (bits < 6 && done < 3)
            bit = (uint32_t)adaptive_bit(s, rc, &c[40 + bits * 8 + done * 4 + (got & 3)], (int)bit);
        else
            bit = plt_raw_bits(rc, bit, 1);
        got = got << 1 | bit;
    }
    return (uint32_t)(got - 1);
}

static int32_t code_signed(plt_state *s, plt_range *rc, int which, int32_t value)
{
    uint32_t folded = value < 0 ? ~(uint32_t)value << 1 | 1 : (uint32_t)value << 1;
    folded = code_number(s, rc, which, folded);
    return (int32_t)(folded & 1 ? ~(folded >> 1) : folded >> 1);
}

/* Codes a number that is likely to be, or else to be near, the one expected. */
static uint32_t code_expected(plt_state *s, plt_range *rc, uint32_t expected, uint32_t value)
{
    s->exact = (uint32_t)adaptive_bit(s, rc, &s->flag[s->exact], value == expected);
    if (s->exact)
        return expected;
    return expected + (uint32_t)code_signed(s, rc, N_DIFFERENCE, (int32_t)(value - expected));
}

#define NUMBER(which, field) ((field) = code_number(s, rc, which, field))

static void code_shape(plt_state *s, plt_range *rc, plt_shape *shape)
{
    NUMBER(N_ROWS, shape->rows);
    NUMBER(N_CHANNELS, shape->channels);
    NUMBER(N_TAPS, shape->taps);
    if (shape->taps > 1) {
        NUMBER(N_TAP_WIDTH, shape->tap_width);
        NUMBER(N_ORDER, shape->channels_last);
    } else {
        shape->tap_width = 1;
        shape->channels_last = 0;
    }
}

static int shape_is_sane(const plt_shape *shape)
{
    uint64_t inner = (uint64_t)shape->channels * shape->taps;
    return shape->rows && inner && inner < 1u << 31 && shape->rows < 1u << 31 &&
           inner * shape->rows < 1u << 31 && shape->tap_width && shape->channels_last < 2;
}

/* Codes how wide an item is, and in which order its bytes are. Returns whether that makes sense. */
static int code_item(plt_state *s, plt_range *rc, plt_segment *g)
{
    uint32_t item = (g->width >> 1) | g->big_endian << 2;
    NUMBER(N_ITEM, item);
    g->width = 1u << (item & 3);
    g->big_endian = item >> 2;
    return g->width <= 4 && g->big_endian <= 1;
}

/* The same of floats, and the largest exponent. */
static int code_format(plt_state *s, plt_range *rc, plt_segment *g)
{
    uint32_t item = g->format | g->big_endian << 2;
    NUMBER(N_FORMAT, item);
    g->format = item & 3;
    g->big_endian = item >> 2;
    g->width = g->format == PLT_FP32 ? 4 : 2;
    g->layout.exponent_bits = g->format == PLT_FP16 ? 5 : 8;
    g->layout.mantissa_bits = g->format == PLT_FP32 ? 23 : g->format == PLT_FP16 ? 10 : 7;
    NUMBER(N_LARGEST, g->layout.largest);
    return g->format < PLT_FLOAT_FORMATS && g->big_endian <= 1;
}

/* Codes where in the base the segment's old bytes begin, told from where the last ones ended. */
static void code_place(plt_state *s, plt_range *rc, plt_segment *g)
{
    uint32_t place = g->reference - 1;
    place = s->base_at + (uint32_t)code_signed(s, rc, N_REFERENCE, (int32_t)(place - s->base_at));
    g->reference = place + 1;
}

/* Whether the base holds `bytes` from the reference on; the next one is expected behind them. */
static int base_holds(plt_state *s, const plt_segment *g, uint64_t bytes)
{
    uint64_t end = (uint64_t)g->reference - 1 + bytes;
    if (!s->base || !g->reference || end > s->base_size || end >= 1u << 31)
        return 0;
    s->base_at = (uint32_t)end;
    return 1;
}

/* Codes what a tensor is told from: nothing, a tensor in the base, or one before in this chunk.
 * Returns -1 if that makes no sense. */
static int code_reference(plt_state *s, plt_range *rc, plt_segment *g, uint64_t bytes)
{
    uint32_t from = g->reference ? FROM_BASE : g->distance ? FROM_CHUNK : FROM_NOTHING;

    NUMBER(N_TOLD_FROM, from);
    if (from == FROM_CHUNK) {
        g->reference = 0;
        NUMBER(N_DISTANCE, g->distance);
        return g->distance < g->width ? -1 : 0;
    }
    g->distance = 0;
    if (from == FROM_BASE) {
        code_place(s, rc, g);
        return base_holds(s, g, bytes) ? 0 : -1;
    }
    return from == FROM_NOTHING && g->kind != PLT_CHANGES ? 0 : -1;
}

/* Codes where the scales and the weights of limits are, and which of them are meant: often those of
 * the limits before, on the other side. Returns whether that makes sense. */
static int code_rows(plt_state *s, plt_range *rc, plt_segment *g, uint32_t at)
{
    const plt_segment *before = &s->limits;
    uint32_t scales = at - g->distance, weights = at - g->weights;
    uint32_t again = before->length == g->length && before->lowest != g->lowest &&
                     before->distance == scales && before->weights == weights &&
                     before->shape.channels == g->shape.channels &&
                     before->shape.channels_last == g->shape.channels_last;

    NUMBER(N_AGAIN, again);
    if (again) {
        *g = *before;
        g->distance = at - before->distance;
        g->weights = at - before->weights;
        g->lowest = !before->lowest;
    } else {
        NUMBER(N_DISTANCE, g->distance);
        NUMBER(N_WEIGHTS, g->weights);
        NUMBER(N_CHANNELS, g->shape.channels);
        NUMBER(N_ORDER, g->shape.channels_last);
        NUMBER(N_SIDE, g->lowest);
        NUMBER(N_LENGTH, g->length);
    }
    s->limits = *g;
    s->limits.distance = at - g->distance;
    s->limits.weights = at - g->weights;
    return again <= 1 && g->length % 4 == 0 && g->shape.channels && g->shape.channels_last <= 1 &&
           g->lowest <= 1;
}

/* Codes everything about a segment but its data. Returns its bytes, or 0 if it makes no sense. */
static uint64_t code_header(plt_state *s, plt_range *rc, plt_segment *g, const uint32_t *palette,
                            uint32_t at)
{
    NUMBER(N_KIND, g->kind);
    switch (g->kind) {
    case PLT_BYTES:
        return NUMBER(N_LENGTH, g->length);
    case PLT_COPY:
        NUMBER(N_DISTANCE, g->distance);
        return NUMBER(N_LENGTH, g->length);
    case PLT_BASE_COPY:
        code_place(s, rc, g);
        NUMBER(N_BASE_LENGTH, g->length);
        return base_holds(s, g, g->length) ? g->length : 0;
    case PLT_PRODUCT:
        NUMBER(N_DISTANCE, g->distance);
        g->factor = plt_raw_bits(rc, g->factor, 32);
        NUMBER(N_LENGTH, g->length);
        return g->length % 4 ? 0 : g->length;
    case PLT_LIMITS:
        return code_rows(s, rc, g, at) ? g->length : 0;
    case PLT_INTEGERS: {
        int sane = code_item(s, rc, g);
        g->centre = code_signed(s, rc, N_CENTRE, g->centre);
        g->range.lowest = code_signed(s, rc, N_LOWEST, g->range.lowest);
        g->range.highest = code_signed(s, rc, N_HIGHEST, g->range.highest);
        if (!sane || g->range.lowest > g->range.highest)
            return 0;
        uint32_t low = (uint32_t)g->range.lowest, high = (uint32_t)g->range.highest;
        uint32_t most = g->range.lowest < 0 ? ~low : low;
        uint32_t other = g->range.highest < 0 ? ~high : high;
        most = most > other ? most : other;
        for (g->range.shift = 0; most >> g->range.shift >= 1u << 14;)
            g->range.shift++;
        break;
    }
    case PLT_TRELLIS: {
        int sane = code_item(s, rc, g);
        g->range.lowest = code_signed(s, rc, N_LOWEST, g->range.lowest);
        g->range.highest = code_signed(s, rc, N_HIGHEST, g->range.highest);
        NUMBER(N_ALONG, g->along);
        if (!sane || g->range.lowest > g->range.highest || g->range.lowest < -PLT_TRELLIS_LIMIT ||
            g->range.highest > PLT_TRELLIS_LIMIT || g->along > 1)
            return 0;
        g->range.shift = 0;
        break;
    }
    case PLT_FLOATS: {
        int sane = code_format(s, rc, g);
        NUMBER(N_ZERO_BITS, g->layout.zero_bits);
        NUMBER(N_MODEL_BITS, g->layout.model_bits);
        if (!sane || g->layout.largest >> g->layout.exponent_bits ||
            g->layout.zero_bits > g->layout.mantissa_bits || g->layout.model_bits > 23)
            return 0;
        break;
    }
    case PLT_PALETTE: {
        int sane = code_item(s, rc, g);
        NUMBER(N_PALETTE_SIZE, g->palette_size);
        NUMBER(N_PALETTE_ZERO, g->palette_zero);
        if (!sane || g->palette_size > PLT_PALETTE_LIMIT || g->palette_zero >= g->palette_size)
            return 0;
        uint32_t value = 0;
        for (uint32_t i = 0; i < g->palette_size; i++) {
            uint32_t gap = rc->mode == PLT_DECODE ? 0 : palette[i] - value;
            value += code_number(s, rc, N_PALETTE_GAP, gap);
            s->palette[i] = value;
        }
        g->range.lowest = -(int32_t)g->palette_zero;
        g->range.highest = (int32_t)(g->palette_size - 1 - g->palette_zero);
        g->range.shift = 0;
        break;
    }
    case PLT_FOURIER:
        g->width = 4;
        break;
    case PLT_CHANGES:
        if (!code_format(s, rc, g) || g->layout.largest > 255)
            return 0;
        break;
    default:
        return 0;
    }
    code_shape(s, rc, &g->shape);
    if (!shape_is_sane(&g->shape) ||
        (g->kind == PLT_FOURIER && g->shape.channels > PLT_FOURIER_POINTS))
        return 0;
    if (g->kind == PLT_TRELLIS && !g->along &&
        (uint64_t)g->shape.channels * g->shape.taps > PLT_HISTORY)
        return 0;
    uint64_t bytes = (uint64_t)g->shape.rows * g->shape.channels * g->shape.taps * g->width;
    if (g->kind == PLT_INTEGERS || g->kind == PLT_TRELLIS || g->kind == PLT_CHANGES)
        return code_reference(s, rc, g, bytes) ? 0 : bytes;
    return bytes;
}

static uint32_t load(const uint8_t *at, uint32_t width, uint32_t big_endian)
{
    uint32_t v = 0;
    for (uint32_t i = 0; i < width; i++)
        v |= (uint32_t)at[i] << 8 * (big_endian ? width - 1 - i : i);
    return v;
}

static void store(uint8_t *at, uint32_t v, uint32_t width, uint32_t big_endian)
{
    for (uint32_t i = 0; i < width; i++)
        at[i] = (uint8_t)(v >> 8 * (big_endian ? width - 1 - i : i));
}

/* Palettes are sorted as numbers: the order of floats' bits, with negative ones turned round. */
static uint32_t to_sortable(uint32_t v, uint32_t width)
{
    uint32_t top = 1u << (8 * width - 1), all = top | (top - 1);
    return v & top ? ~v & all : v | top;
}

static uint32_t from_sortable(uint32_t v, uint32_t width)
{
    uint32_t top = 1u << (8 * width - 1), all = top | (top - 1);
    return v & top ? v & ~top : ~v & all;
}

static uint32_t palette_index(const plt_state *s, uint32_t size, uint32_t v)
{
    uint32_t low = 0;
    while (size > 1) {
        uint32_t half = size / 2;
        if (s->palette[low + half] <= v)
            low += half;
        size -= half;
    }
    return low;
}

static int32_t sign_extend(uint32_t v, uint32_t width)
{
    uint32_t top = 1u << (8 * width - 1);
    return width == 4 ? (int32_t)v : (int32_t)((v & (2 * top - 1)) ^ top) - (int32_t)top;
}

/* A float as the difference of its bits, in the floats' order, to those of the old one. The same
 * change moves small floats by more steps than large ones: the old exponent tells by how many. */
static uint32_t code_change(plt_state *s, plt_range *rc, const plt_segment *g, uint32_t old,
                            uint32_t value)
{
    uint32_t exponent = old >> g->layout.mantissa_bits & ((1u << g->layout.exponent_bits) - 1);
    uint32_t below = exponent < g->layout.largest ? g->layout.largest - exponent : 0;
    plt_integer range = {.lowest = INT32_MIN, .highest = INT32_MAX};

    range.shift = below < 16 ? below : 16;
    if (g->width == 2)
        range.lowest = -32768, range.highest = 32767;
    uint32_t from = to_sortable(old, g->width);
    int32_t change = sign_extend(to_sortable(value, g->width) - from, g->width);
    from += (uint32_t)plt_model_integer(&s->model, rc, change, &range);
    return from_sortable(g->width == 2 ? from & 0xffff : from, g->width);
}

static int32_t limited_reference(int32_t v)
{
    return v > 32767 ? 32767 : v < -32767 ? -32767 : v;
}

/* Codes `count` items of the tensor at hand. */
static void code_items(plt_state *s, plt_range *rc, uint8_t *raw, size_t count)
{
    const plt_segment *g = &s->open;
    uint32_t width = g->width, big = g->big_endian;
    int decode = rc->mode == PLT_DECODE;
    uint32_t begun = g->shape.rows * g->shape.channels * g->shape.taps - s->left;
    const uint8_t *old = g->reference  ? s->base + (g->reference - 1) + (size_t)begun * width
                         : g->distance ? raw - g->distance
                                       : 0;

    for (size_t i = 0; i < count; i++, raw += width) {
        uint32_t v = decode ? 0 : load(raw, width, big);
        uint32_t was = old ? load(old + i * width, width, big) : 0;
        if (g->kind == PLT_INTEGERS) {
            int32_t before = sign_extend(was - (uint32_t)g->centre, width) >> g->range.shift;
            s->model.reference.value = limited_reference(before);
            /* around the centre, which may stand anywhere in the items' range */
            int32_t x = decode ? 0 : sign_extend(v - (uint32_t)g->centre, width);
            x = plt_model_integer(&s->model, rc, x, &g->range);
            v = (uint32_t)x + (uint32_t)g->centre;
        } else if (g->kind == PLT_TRELLIS) {
            int32_t before = sign_extend(was, width), level = decode ? 0 : sign_extend(v, width);
            s->model.reference.value = limited_reference(before);
            v = (uint32_t)plt_model_trellis(&s->model, rc, level, &g->range);
        } else if (g->kind == PLT_FLOATS) {
            v = plt_model_float(&s->model, rc, v, &g->layout);
        } else if (g->kind == PLT_CHANGES) {
            v = code_change(s, rc, g, was, v);
        } else if (g->kind == PLT_FOURIER) {
            uint32_t done = begun + (uint32_t)i;
            uint32_t row = done / g->shape.channels, column = done % g->shape.channels;
            v = code_expected(s, rc, plt_fourier_expect(&s->fourier, row, column), v);
            plt_fourier_learn(&s->fourier, row, column, v);
        } else {
            int32_t x = 0;
            if (!decode)
                x = (int32_t)(palette_index(s, g->palette_size, to_sortable(v, width)) -
                              g->palette_zero);
            x = plt_model_integer(&s->model, rc, x, &g->range);
            uint32_t index = (uint32_t)x + g->palette_zero;
            v = from_sortable(s->palette[index < g->palette_size ? index : 0], width);
        }
        if (decode)
            store(raw, v, width, big);
    }
}

static void code_product(plt_state *s, plt_range *rc, const plt_segment *g, uint8_t *raw)
{
    s->exact = 0;
    for (uint32_t i = 0; i < g->length; i += 4) {
        uint32_t expected = plt_fp32_multiply(load(raw + i - g->distance, 4, 0), g->factor);
        uint32_t v = rc->mode == PLT_DECODE ? 0 : load(raw + i, 4, 0);
        v = code_expected(s, rc, expected, v);
        if (rc->mode == PLT_DECODE)
            store(raw + i, v, 4, 0);
    }
}

/* The largest number of a row of int8, or the smallest; rows lie apart, or item by item. */
static int32_t extreme(const plt_segment *g, const uint8_t *weights, size_t row)
{
    size_t items = g->shape.channels, rows = g->length / 4, next = 1;
    const uint8_t *item = weights + row * items;
    if (g->shape.channels_last) {
        item = weights + row;
        next = rows;
    }
    int32_t found = sign_extend(*item, 1);
    for (size_t i = 1; i < items; i++) {
        int32_t v = sign_extend(item[i * next], 1);
        if (g->lowest ? v < found : v > found)
            found = v;
    }
    return found;
}

/* Codes a number from 0 to `limit`, all as likely. */
static uint32_t code_uniform(plt_range *rc, uint32_t value, uint32_t limit)
{
    uint32_t got = 0;

    for (uint32_t bit = limit ? 2u << plt_top_bit(limit) : 1; bit >>= 1;) {
        if ((got | bit) > limit)
            continue;
        uint32_t ones = limit - (got | bit) + 1;
        ones = ones < bit ? ones : bit;
        uint32_t p = (uint32_t)(65536ull * ones / (ones + bit));
        got |= plt_bit(rc, (value & bit) != 0, p ? p : 1) ? bit : 0;
    }
    return got;
}

/* Codes what a row of weights reached before it was quantised, if not what is expected: any number
 * within half a step of that, or one that is very near or farther away. */
static uint32_t code_limit(plt_state *s, plt_range *rc, uint32_t scale, uint32_t expected,
                           uint32_t value)
{
    uint32_t far = (expected >> 23 & 255) - (scale >> 23 & 255); /* powers of two */
    uint32_t step = far < 24 ? ((scale & 0x7fffff) | 0x800000) >> far : 0;
    uint32_t off = value - expected, lowest = 0u - step / 2;

    if (adaptive_bit(s, rc, &s->flag[4], off - lowest <= step && off + 8 > 16))
        return expected + lowest + code_uniform(rc, off - lowest, step);
    return expected + (uint32_t)code_signed(s, rc, N_DIFFERENCE, (int32_t)off);
}

/* What rows of weights reached before they were quantised: their extreme times their scale where
 * the scale was made from it, and within half a step of that elsewhere. */
static void code_limits(plt_state *s, plt_range *rc, const plt_segment *g, uint8_t *raw)
{
    for (uint32_t i = 0; i < g->length; i += 4) {
        int32_t most = extreme(g, raw - g->weights, i / 4);
        uint32_t scale = load(raw + i - g->distance, 4, 0);
        uint32_t expected = plt_fp32_multiply(scale, plt_fp32_from_int(most));
        uint32_t v = rc->mode == PLT_DECODE ? 0 : load(raw + i, 4, 0);
        plt_counter *exact = &s->flag[most == 127 || most == -127 ? 3 : 2];
        v = adaptive_bit(s, rc, exact, v == expected) ? expected
                                                      : code_limit(s, rc, scale, expected, v);
        if (rc->mode == PLT_DECODE)
            store(raw + i, v, 4, 0);
    }
}

static uint32_t kind_of(const plt_segment *g)
{
    if (g->kind == PLT_INTEGERS || g->kind == PLT_TRELLIS)
        return g->range.shift ? PLT_KIND_WIDE : PLT_KIND_INTEGER;
    if (g->kind == PLT_CHANGES)
        return PLT_KIND_WIDE;
    return g->kind == PLT_FLOATS ? PLT_KIND_FLOAT : PLT_KIND_PALETTE;
}

int plt_segment_code(plt_state *s, plt_range *rc, uint8_t *raw, size_t at, size_t size,
                     const plt_segment *plan, const uint32_t *palette, size_t *part)
{
    plt_segment *g = &s->open;
    int decode = rc->mode == PLT_DECODE;

    if (at == 0)
        plt_words_begin(&s->bytes.words);
    if (!s->left) {
        *g = *plan;
        uint64_t bytes = code_header(s, rc, g, palette, (uint32_t)at);
        if (!bytes)
            return -1;
        if (g->kind == PLT_BYTES || g->kind == PLT_COPY || g->kind == PLT_PRODUCT ||
            g->kind == PLT_LIMITS || g->kind == PLT_BASE_COPY) {
            *part = (size_t)bytes;
            if (bytes > size - at)
                return -1;
            if (g->kind == PLT_BYTES) {
                for (size_t i = at; i < at + bytes; i++) {
                    uint8_t byte = decode ? 0 : raw[i];
                    byte = plt_bytes_code(&s->bytes, &s->model.tables, rc, raw, (uint32_t)i,
                                          byte);
                    if (decode)
                        raw[i] = byte;
                }
                return 0;
            }
            if (g->kind == PLT_BASE_COPY) {
                if (decode)
                    memcpy(raw + at, s->base + (g->reference - 1), (size_t)bytes);
                return 0;
            }
            if (!g->distance || g->distance > at)
                return -1;
            if (g->kind == PLT_LIMITS) {
                if (g->distance < bytes || g->weights > at ||
                    bytes / 4 * g->shape.channels > g->weights)
                    return -1;
                code_limits(s, rc, g, raw + at);
                return 0;
            }
            if (g->kind == PLT_PRODUCT) {
                if (g->distance < 4)
                    return -1;
                code_product(s, rc, g, raw + at);
            } else if (decode) {
                for (size_t i = at; i < at + bytes; i++)
                    raw[i] = raw[i - g->distance];
            }
            return 0;
        }
        /* one that is told from this chunk ends within it */
        if (g->distance && (g->distance > at || bytes > size - at))
            return -1;
        if (g->kind == PLT_FOURIER) {
            s->exact = 0;
            plt_fourier_init(&s->fourier, g->shape.channels);
        } else {
            int referenced = g->kind != PLT_CHANGES && (g->reference || g->distance);
            plt_model_tensor(&s->model, &g->shape, kind_of(g), referenced);
            if (g->kind == PLT_TRELLIS)
                plt_model_trellis_begin(&s->model, g->along);
        }
        s->left = g->shape.rows * g->shape.channels * g->shape.taps;
    }
    /* A tensor that the chunk's end cuts goes on in the next chunk. */
    size_t fits = (size - at) / g->width, items = s->left < fits ? s->left : fits;
    if (!items)
        return -1;
    code_items(s, rc, raw + at, items);
    s->left -= (uint32_t)items;
    *part = items * g->width;
    return 0;
}
