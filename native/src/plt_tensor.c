/* See plt_tensor.h. Scales by row and column: DeepCABAC (Wiedemann et al., arXiv:1907.11900) codes
 * zero, sign and magnitude with contexts of the last two weights; here the same decisions are mixed
 * from many contexts. The prediction is linear least squares over earlier taps, solved by
 * coordinate descent in fixed point.
 */
#include "plt_tensor.h"

#include <string.h>

/* The decisions of one value. Those on an octave and on the bits below it lie side by side, as they
 * are taken one after the other: 16 counters are a cache line. */
enum {
    NODE_ZERO = 0,
    NODE_SIGN = 1,
    NODE_OCTAVES = 16,           /* + 16 set of the octave k + one of these: */
    NODE_FIRST = 0,              /* at least 2^k, where k is the power to expect */
    NODE_UP = 1,                 /* at least 2^(k+1), when at least 2^k */
    NODE_DOWN = 2,               /* at least 2^k, when less than 2^(k+1) */
    NODE_BITS = 3                /* + place in the tree of the bits below the first */
};

/* Models that are asked, beside the distribution; bits hardly depend on anything, except where a
 * value is told from another one. */
enum { ALL_MODELS = PLT_CONTEXTS, FOR_OCTAVE = 3, FOR_BIT = 2 };

enum {
    MEAN_BITS = 8,
    TREE_BITS = 3,
    INTEGER_BITS = 6,
    COUNTER_LIMIT = 300,
    FINE_BITS = 6,
    FIRST_WEIGHT = 4000,         /* of counters */
    FIRST_PRIOR_WEIGHT = 14000
};

static uint32_t at_most(uint32_t v, uint32_t limit)
{
    return v < limit ? v : limit;
}

/* Small octaves have decisions of their own; large ones share with those 6 octaves away, from which
 * the scale in every context tells them apart. */
static uint32_t octave_node(uint32_t k, uint32_t decision)
{
    return NODE_OCTAVES + 16 * (k < 8 ? k : 8 + (k - 8) % 6) + decision;
}

/* The decision on the next bit below the first, in octave_node(k, NODE_BITS), after those in `got`:
 * a one and the bits. */
static uint32_t bit_node(uint32_t octave, uint32_t got)
{
    return octave + at_most(got - 1, (1u << TREE_BITS) - 1);
}

/* The same among all magnitudes up to 255 of either sign. */
static uint32_t exact_bit(uint32_t k, uint32_t node, uint32_t got, uint32_t negative)
{
    return k > 7 ? node + negative * PLT_NODES
                 : 2 * PLT_NODES + negative * 256 + (1u << k) + got - 1;
}

static uint32_t magnitude_of(int32_t x)
{
    return x < 0 ? 0u - (uint32_t)x : (uint32_t)x;
}

/* log2(v) in 1/8, v >= 1 */
static uint32_t log2_8(uint32_t v)
{
    uint32_t top = plt_top_bit(v);
    return top * 8 + ((v << (31 - top)) >> 28 & 7);
}

static int64_t limited(int64_t v, int64_t limit)
{
    return v > limit ? limit : v < -limit ? -limit : v;
}

void plt_model_init(plt_model *m)
{
    memset(m, 0, sizeof *m);
    plt_tables_init(&m->tables);
    for (size_t i = 0; i < PLT_CONTEXTS - 1; i++)
        for (size_t j = 0; j < PLT_LEVELS * PLT_NODES; j++)
            m->counter[i][j] = PLT_COUNTER_NEW;
    for (size_t s = 0; s < 2; s++)
        for (size_t i = 0; i < PLT_NODES * PLT_SETS; i++)
            for (size_t j = 0; j <= PLT_CONTEXTS; j++)
                m->weight[s][i][j] = j < PLT_CONTEXTS ? FIRST_WEIGHT : FIRST_PRIOR_WEIGHT;
    for (size_t i = 0; i < 512; i++)
        m->exponent[i / 256][i % 256] = PLT_COUNTER_NEW;
}

/* The nearest earlier taps of the kernel, then the same tap one channel and one row back. Returns
 * how far back the contexts reach. */
static uint32_t choose_neighbours(plt_model *m)
{
    const plt_shape *s = &m->shape;
    uint32_t tap_stride = s->channels_last ? s->channels : 1;
    uint32_t channel_stride = s->channels_last ? 1 : s->taps;
    uint32_t row_stride = s->channels * s->taps, reach = 2; /* the last two values */

    for (uint32_t t = 0; t < PLT_MAX_TAPS && t < s->taps; t++) {
        plt_predictor *p = &m->predictor[t];
        uint32_t n = 0, y = t / s->tap_width, x = t % s->tap_width;
        for (uint32_t square = 1; s->taps <= PLT_MAX_TAPS && square <= 8; square++)
            for (uint32_t u = t; u-- > 0 && n < PLT_NEIGHBOURS - 2;) {
                uint32_t dy = y - u / s->tap_width;
                uint32_t ux = u % s->tap_width, dx = x > ux ? x - ux : ux - x;
                if (dy * dy + dx * dx == square)
                    p->distance[n++] = (t - u) * tap_stride;
            }
        if (s->channels > 1) {
            p->distance[n++] = channel_stride;
            if (s->taps == 1 && s->channels > 2)
                p->distance[n++] = 2 * channel_stride;
        }
        if (s->rows > 1)
            p->distance[n++] = row_stride;
        p->neighbours = n;
        for (uint32_t i = 0; i < n; i++) {
            if (p->distance[i] >= PLT_HISTORY)
                p->distance[i] = 0;
            reach = p->distance[i] > reach ? p->distance[i] : reach;
        }
    }
    return reach;
}

void plt_model_tensor(plt_model *m, const plt_shape *shape, uint32_t kind, int referenced)
{
    m->shape = *shape;
    m->kind = kind & 3;
    m->index = 0;
    m->now = (plt_expectation){0};
    m->row_sum = m->row_count = 0;
    m->mean = m->previous_row = 0;
    m->column_bits = 0;
    uint32_t inner = shape->channels * shape->taps;
    while ((inner - 1) >> m->column_bits >= PLT_COLUMNS)
        m->column_bits++;
    /* Only what this shape reaches, or tiny tensors would cost as much as large ones. */
    memset(m->column, 0, (((inner - 1) >> m->column_bits) + 1) * sizeof *m->column);
    memset(m->channel, 0, at_most(shape->channels, PLT_COLUMNS) * sizeof *m->channel);
    memset(m->predictor, 0, at_most(shape->taps, PLT_MAX_TAPS) * sizeof *m->predictor);
    m->reference = (plt_reference){.on = referenced};
    plt_filter_begin(&m->filter, referenced ? UINT32_MAX : inner);
    /* what neighbours find before the first value stands at the end of the history */
    uint32_t reach = choose_neighbours(m);
    memset(m->history + (PLT_HISTORY - reach), 0, reach * sizeof *m->history);
    m->grid = 0;
    for (size_t j = 0; j < PLT_EXACT; j++)
        m->exact[0][j] = PLT_COUNTER_NEW;
}

void plt_model_trellis_begin(plt_model *m, uint32_t along)
{
    m->along = along;
    memset(m->state, 0, along ? 1 : m->shape.channels * m->shape.taps);
    for (size_t grid = 1; grid < PLT_GRIDS; grid++)
        for (size_t j = 0; j < PLT_EXACT; j++)
            m->exact[grid][j] = PLT_COUNTER_NEW;
}

/* Kinds of numbers that have 14 bits of magnitude. */
static int is_wide(const plt_model *m)
{
    return m->kind == PLT_KIND_WIDE || m->kind == PLT_KIND_FLOAT;
}

/* The prediction from the neighbours at this tap and from the filters, in 1/16. */
static int32_t predict(plt_model *m, const plt_predictor *p)
{
    int64_t sum = 0;
    for (uint32_t i = 0; i < p->neighbours; i++)
        m->neighbour[i] =
            p->distance[i] ? m->history[(m->index - p->distance[i]) & (PLT_HISTORY - 1)] : 0;
    plt_filter_predict(&m->filter, m->now.inner);
    int unit = is_wide(m) ? 16 : 12; /* small numbers are filtered to a fraction of 4 bits */
    int64_t above = (int64_t)m->filter.by_above * m->now.scale >> unit;
    int64_t beside = (int64_t)m->filter.by_beside * m->now.scale >> unit;
    m->neighbour[PLT_NEIGHBOURS] = (int32_t)limited(above, 32767);
    m->neighbour[PLT_NEIGHBOURS + 1] = (int32_t)limited(beside, 32767);
    for (uint32_t i = 0; i < p->neighbours; i++)
        sum += (int64_t)p->weight[i] * m->neighbour[i];
    for (int i = PLT_NEIGHBOURS; i < PLT_PREDICTORS; i++)
        sum += (int64_t)p->weight[i] * m->neighbour[i];
    return (int32_t)limited(sum * 9 >> 15, 1 << 20); /* the ridge makes weights small: 9/8 */
}

/* The prediction from the reference, in 1/16. A row begins with the ratio of all rows before. */
static int32_t predict_by_reference(plt_model *m)
{
    plt_reference *r = &m->reference;
    if (m->now.inner == 0) {
        r->all_dot += r->dot;
        r->all_square += r->square;
        r->square = r->all_square / (m->now.row + 1) / 64 + 1;
        r->dot = r->square * (r->all_dot * 256 / (r->all_square + 1)) / 256;
    }
    int64_t ratio = limited(limited(r->dot, 32 * r->square) * 4096 / r->square, 1 << 16);
    return (int32_t)(ratio * r->value >> 8);
}

static plt_predictor *predictor_at(plt_model *m)
{
    return &m->predictor[at_most(m->now.tap, PLT_MAX_TAPS - 1)];
}

static void expect(plt_model *m)
{
    const plt_shape *s = &m->shape;
    plt_expectation *e = &m->now;

    if (e->inner == 0 && e->row) {
        m->previous_row = m->row_sum / m->row_count;
        m->row_sum = m->row_count = 0;
    }
    e->column = e->inner >> m->column_bits;
    uint32_t chan = e->channel & (PLT_COLUMNS - 1);

    /* no mean exceeds 2^23, no sum of a row 2^30 and one item: all of this fits 32 bits */
    uint32_t mean = m->mean >> MEAN_BITS, prior = (mean + m->previous_row) / 2;
    e->row_scale = (m->row_sum + 8 * prior) / (m->row_count + 8);
    uint32_t nrow = at_most(e->row, 255);
    /* the channel's and the column's mean, shrunk towards the wider ones */
    uint32_t own = m->channel[chan] >> MEAN_BITS;
    uint32_t column = (m->column[e->column] >> MEAN_BITS) * nrow;
    e->column_scale = (column + 3 * own + 4 * mean) / (nrow + 7);
    if (e->row == 0) /* so far only the taps before this one know the channel */
        e->column_scale = s->channels_last && e->tap ? own : mean;
    uint64_t scale = (uint64_t)e->row_scale * (e->column_scale + 2) / (mean + 2);
    scale = (5 * scale + 3ull * e->row_scale) / 8;
    e->scale = (uint32_t)(scale > 1u << 22 ? 1u << 22 : scale);

    plt_predictor *p = predictor_at(m);
    e->predicted = m->reference.on ? predict_by_reference(m) : predict(m, p);
    uint32_t magnitude = (p->magnitude >> MEAN_BITS) + 8;
    uint64_t error = (uint64_t)e->scale * ((p->error >> MEAN_BITS) + 8) / magnitude;
    e->error_scale = (uint32_t)(error > 1u << 24 ? 1u << 24 : error);
}

static void solve(plt_predictor *p)
{
    for (int sweep = 0; sweep < 2; sweep++)
        for (int i = 0; i < PLT_PREDICTORS; i++) {
            int64_t rest = p->moment[i][PLT_PREDICTORS] * 65536 + p->moment[i][i] * p->weight[i];
            for (int j = 0; j < i; j++)
                rest -= p->moment[j][i] * p->weight[j];
            for (int j = i; j < PLT_PREDICTORS; j++)
                rest -= p->moment[i][j] * p->weight[j];
            /* a little ridge keeps weights of rare neighbours near zero */
            int64_t w = rest / (p->moment[i][i] + p->moment[i][i] / 64 + 64);
            p->weight[i] = (int32_t)limited(w, 1 << 18);
        }
}

/* A running mean moves to `value`, by 2 / (2 n + 3). It has MEAN_BITS more than the value, or small
 * steps would round to none. */
static void towards(const plt_tables *t, uint32_t *mean, uint32_t value, uint32_t n)
{
    int64_t far = ((int64_t)value << MEAN_BITS) - *mean;
    *mean = (uint32_t)(*mean + (far * t->rate[n] >> 16));
}

/* Halves the moments now and then, so that older values count for less, and before solve() could
 * overflow: no moment is larger than the largest square, and thirteen times 2^18 of them fit. */
static void forget(plt_predictor *p)
{
    int large = p->count % 8192 == 0;
    for (int i = 0; i < PLT_PREDICTORS; i++)
        large |= p->moment[i][i] > 1ll << 41;
    for (int i = 0; large && i < PLT_PREDICTORS; i++)
        for (int j = i; j <= PLT_PREDICTORS; j++)
            p->moment[i][j] /= 2;
}

static void learn_ratio(plt_reference *r, int32_t value)
{
    r->dot += (int64_t)value * r->value;
    r->square += (int64_t)r->value * r->value;
    if (r->square > 1ll << 44) {
        r->dot /= 2;
        r->square /= 2;
    }
    if (r->all_square > 1ll << 44) {
        r->all_dot /= 2;
        r->all_square /= 2;
    }
}

/* Adds the products of the recent values and of what they were predicted from: many at once, as
 * nobody looks at the moments before. */
static void add_moments(plt_predictor *p)
{
    uint32_t used[PLT_PREDICTORS + 1], n = 0;
    for (uint32_t i = 0; i <= PLT_PREDICTORS; i++)
        if (i < p->neighbours || i >= PLT_NEIGHBOURS)
            used[n++] = i;
    for (uint32_t i = 0; i + 1 < n; i++)
        for (uint32_t j = i; j < n; j++) {
            const int16_t *x = p->recent[used[i]], *y = p->recent[used[j]];
            int64_t sum = 0;
            for (int k = 0; k < PLT_RECENT; k++)
                sum += (int32_t)x[k] * y[k];
            p->moment[used[i]][used[j]] += sum;
        }
}

static void learn_moments(plt_model *m, plt_predictor *p, int32_t value)
{
    uint32_t place = (p->count - 1) % PLT_RECENT;
    for (uint32_t i = 0; i < p->neighbours; i++)
        p->recent[i][place] = (int16_t)m->neighbour[i];
    for (uint32_t i = PLT_NEIGHBOURS; i < PLT_PREDICTORS; i++)
        p->recent[i][place] = (int16_t)m->neighbour[i];
    p->recent[PLT_PREDICTORS][place] = (int16_t)value;
    if (place == PLT_RECENT - 1) {
        add_moments(p);
        solve(p);
        forget(p);
    }
}

/* To the next value, in memory order. */
static void advance(plt_model *m)
{
    const plt_shape *s = &m->shape;
    plt_expectation *e = &m->now;
    uint32_t *fast = s->channels_last ? &e->channel : &e->tap;
    uint32_t *slow = s->channels_last ? &e->tap : &e->channel;

    e->inner++;
    if (++*fast < (s->channels_last ? s->channels : s->taps))
        return;
    *fast = 0;
    if (++*slow < (s->channels_last ? s->taps : s->channels))
        return;
    *slow = e->inner = 0;
    e->row++;
}

static void learn(plt_model *m, int32_t value)
{
    const plt_expectation *e = &m->now;
    const plt_shape *s = &m->shape;
    uint32_t size = magnitude_of(value) * 256;
    uint32_t chan = e->channel & (PLT_COLUMNS - 1);
    const plt_tables *t = &m->tables;

    m->row_sum += size;
    m->row_count++;
    if (m->row_count >= 1024 || m->row_sum > 1u << 30) {
        m->row_sum /= 2;
        m->row_count /= 2;
    }
    towards(t, &m->mean, size, at_most(m->index, 1000));
    towards(t, &m->column[e->column], size, at_most(e->row, 200));
    towards(t, &m->channel[chan], size, at_most(e->row * s->taps + e->tap, 400));

    plt_predictor *p = predictor_at(m);
    int32_t error = value * 16 - e->predicted;
    uint32_t n = at_most(p->count, 500);
    towards(t, &p->error, at_most(magnitude_of(error), 1u << 19) * 16, n);
    towards(t, &p->magnitude, size, n);
    p->count++;
    if (m->reference.on) {
        learn_ratio(&m->reference, value);
    } else {
        learn_moments(m, p, value);
        int64_t share = value * 65536 / ((int32_t)e->scale + 16);
        plt_filter_learn(&m->filter, e->row, e->inner, (int32_t)limited(share, PLT_FILTER_LIMIT));
    }
    m->history[m->index & (PLT_HISTORY - 1)] = (int16_t)value;
    m->index++;
    advance(m);
}

static uint32_t quantise(uint32_t v, uint32_t per_octave_shift, uint32_t limit)
{
    return at_most(log2_8(v + 1) >> per_octave_shift, limit);
}

static void choose_contexts(plt_model *m)
{
    const plt_expectation *e = &m->now;
    const plt_predictor *p = predictor_at(m);
    uint32_t c[PLT_CONTEXTS - 1], signs = 0;
    uint32_t fine = is_wide(m) ? FINE_BITS : 0; /* contexts look at the upper bits */

    uint32_t row = quantise(e->row_scale >> fine, 2, 31);
    uint32_t column = quantise(e->column_scale >> fine, 2, 31);
    uint32_t scale = quantise(e->scale >> fine, 0, 127);
    uint32_t octave = log2_8(e->scale + 1) >> 3;

    for (uint32_t k = 0; k < 4; k++) {
        int32_t v = k < p->neighbours ? m->neighbour[k] : 0;
        signs = signs * 3 + (uint32_t)((v > 0) - (v < 0) + 1);
    }
    /* the prediction, in eighths of the scale */
    int32_t relative = plt_within(e->predicted * 16 * 8 / ((int32_t)e->scale + 16), 15);

    c[0] = row * 32 + column;
    c[1] = (uint32_t)(relative + 16) * 32 + (scale >> 2);
    c[2] = signs * 12 + at_most(scale >> 3, 11);
    if (m->reference.on) {
        uint32_t sure = quantise(e->error_scale, 3, 31);
        sure = sure < 4 ? 0 : at_most(sure - 4, 7);
        c[1] = (uint32_t)(plt_within(m->reference.value, 63) + 63) * 8 + sure;
        c[2] = (uint32_t)(plt_within(e->predicted >> 2, 63) + 63) * 8 + sure;
    }
    /* Kinds of tensors share the space of every context but seldom meet in it, nor do grids. */
    for (int k = 0; k < PLT_CONTEXTS - 1; k++)
        m->counter_at[k] =
            m->counter[k] + (c[k] ^ m->kind * 0x155 ^ m->grid * 0xf0) % PLT_LEVELS * PLT_NODES;
    octave -= octave && m->grid; /* an index is half a level */
    m->octave = octave < 8 ? 0 : octave - 8;
    uint32_t side = relative < -4 ? 0 : relative < 0 ? 1 : relative == 0 ? 2 : relative < 5 ? 3 : 4;
    m->weight_at[0] = m->weight[0] + (scale >> 3) * PLT_NODES;
    m->weight_at[1] = m->weight[1] + (m->grid * 5 + side) * PLT_NODES;
    m->exact_at = m->exact[m->grid];
}

/* Codes one decision, to which the distribution gives the stretch `prior`, with so many models.
 * `exact` tells it from all others in the tensor, so that values which quantisation favours are
 * found. */
static PLT_INLINE int decide(plt_model *m, plt_range *rc, int models, uint32_t node,
                             uint32_t exact, int bit, int prior)
{
    const plt_tables *t = &m->tables;
    plt_counter *c[PLT_CONTEXTS];
    int16_t *w0 = m->weight_at[0][node], *w1 = m->weight_at[1][node];
    uint64_t stretches = 0;

    c[0] = m->exact_at + exact;
    for (int i = 1; i < models; i++)
        c[i] = m->counter_at[i - 1] + node;
    for (int i = 0; i < models; i++)
        stretches |= (uint64_t)(uint16_t)plt_stretch(t, plt_counter_p16(*c[i])) << 16 * i;
    plt_eight x = plt_eight_of(stretches, (uint16_t)prior | 256 << 16);
    int mixed = plt_mixed(plt_mix_add(plt_mix_add(plt_sums_begin(), x, w0), x, w1));
    uint32_t p = plt_squash(t, mixed);

    bit = plt_bit(rc, bit, p);
    plt_eight step = plt_mix_step(x, p, bit);
    plt_mix_learn(w0, step);
    plt_mix_learn(w1, step);
    for (int i = 0; i < models; i++)
        plt_counter_update(t, c[i], bit, COUNTER_LIMIT);
    return bit;
}

/* What the next value is expected to be: a logistic distribution around the prediction. */
typedef struct {
    int64_t centre;          /* in 1/4096 */
    int64_t inverse;         /* of its scale */
} distribution;

static distribution expected(const plt_expectation *e)
{
    /* The mean distance from the centre is 2 ln 2 = 1.386 of the logistic scale. */
    return (distribution){.centre = (int64_t)e->predicted * 256,
                          .inverse = ((int64_t)4096 * 65536 * 16 * 1386 / 1000) /
                                     ((int64_t)e->error_scale + 24)};
}

/* How far `x` (in 1/4096) is from the centre, in 1/4096 of the scale. */
static int64_t distance(const distribution *d, int64_t x)
{
    /* so far away all is below; further the product would not fit */
    int64_t far = x - d->centre;
    return (far < 1ll << 35 ? far : 1ll << 35) * d->inverse >> 24;
}

enum { MASS = 1 << 30 };         /* of the whole distribution */

static uint32_t mass_below(const distribution *d, int64_t x)
{
    return plt_logistic(distance(d, x));
}

/* 256 ln(v), within 2; v >= 1. Between powers of two log2(1 + f) is f + 0.344 f (1 - f). */
static int32_t ln_256(uint32_t v)
{
    uint32_t top = plt_top_bit(v), f = (v << (31 - top)) >> 19; /* 1 + f, with 12 bits behind it */
    uint32_t log2 = (top << 12) + f - 4096 + (((f - 4096) * (8192 - f) >> 12) * 1409 >> 12);
    return (int32_t)(log2 * 2839 >> 16);                  /* 256 ln 2 / 4096 */
}

/* The stretch of a one, when ones have the mass between `middle` and `high` of all between `low`
 * and `high`. */
static PLT_INLINE int split(uint32_t low, uint32_t middle, uint32_t high)
{
    return plt_within(ln_256(high - middle + 32) - ln_256(middle - low + 32), PLT_STRETCH_LIMIT);
}

/* The part of the distribution that the value is known to lie in. */
typedef struct {
    distribution d;
    uint32_t negative;       /* 0 or 1 */
    uint32_t low, high;      /* masses up to its ends; where it is halved, the bends at them */
} interval;

/* Turns all of it over where the value is negative, as magnitudes go on from here. */
static void turn(interval *in)
{
    uint32_t low = in->low, high = in->high;

    in->low = in->negative ? MASS - high : low;
    in->high = in->negative ? MASS - low : high;
    in->d.centre = in->negative ? -in->d.centre : in->d.centre;
}

static uint32_t on_its_side(const interval *in, uint32_t node)
{
    return node + (in->negative ? PLT_NODES : 0);
}

/* The mass up to an edge beyond the interval's inner end; what was turned over is rounded up. */
static uint32_t mass_from(const interval *in, int64_t edge)
{
    uint32_t mass = mass_below(&in->d, edge);
    return mass < in->low ? in->low : mass;
}

/* Decides whether the magnitude reaches `edge` (in 1/4096), where an octave begins, and keeps that
 * side. */
static PLT_INLINE int cut(plt_model *m, plt_range *rc, interval *in, uint32_t node, int bit,
                          int64_t edge)
{
    uint32_t middle = mass_from(in, edge);
    int prior = split(in->low, middle, in->high);
    uint32_t exact = on_its_side(in, node);

    bit = m->reference.on ? decide(m, rc, ALL_MODELS, node, exact, bit, prior)
                          : decide(m, rc, FOR_OCTAVE, node, exact, bit, prior);
    *(bit ? &in->low : &in->high) = middle;
    return bit;
}

static uint32_t bend_at(const plt_model *m, const interval *in, int64_t edge)
{
    return plt_bend(&m->tables, distance(&in->d, edge));
}

/* As cut(), at the middle of an interval between two bends: the masses of its halves need not be
 * known, and the prior is there before the bit that comes before it. */
static PLT_INLINE int halve(plt_model *m, plt_range *rc, interval *in, uint32_t node,
                            uint32_t exact, int bit, int64_t edge)
{
    uint32_t middle = bend_at(m, in, edge);
    int prior = plt_within((int)(in->low - in->high) >> 4, PLT_STRETCH_LIMIT);

    bit = m->reference.on ? decide(m, rc, ALL_MODELS, node, exact, bit, prior)
                          : decide(m, rc, FOR_BIT, node, exact, bit, prior);
    *(bit ? &in->low : &in->high) = middle;
    return bit;
}

/* Where magnitudes from 2 on begin: half way from those before, in 1/4096. On a trellis a magnitude
 * is that of an index, and what lies half way is between the levels. */
typedef struct {
    uint32_t unit, back, shift;
} edges;

static const edges EDGES[PLT_GRIDS] = {{4096, 2048, 0}, {8192, 4096, 0}, {8192, 8192, 0}};

static int64_t edge_of(const edges *e, uint64_t magnitude)
{
    return (int64_t)((magnitude * e->unit - e->back) >> e->shift);
}

int32_t plt_model_integer(plt_model *m, plt_range *rc, int32_t value, const plt_integer *range)
{
    uint32_t size = magnitude_of(value), got = 1, shift = range->shift;
    edges e = EDGES[m->grid];
    int64_t half = m->grid == 1 ? 4096 : 2048 >> shift;   /* where 1 begins */
    interval in;

    expect(m);
    choose_contexts(m);
    e.shift = shift;
    in.d = expected(&m->now);
    in.low = mass_below(&in.d, -half);
    in.high = mass_below(&in.d, half);
    int prior = split(0, MASS - (in.high - in.low), MASS);
    if (decide(m, rc, ALL_MODELS, NODE_ZERO, NODE_ZERO, value == 0, prior)) {
        learn(m, 0);
        return 0;
    }
    prior = split(in.high, MASS, MASS + in.low);
    in.negative = range->lowest >= 0    ? 0
                  : range->highest <= 0 ? 1
                  : (uint32_t)decide(m, rc, ALL_MODELS, NODE_SIGN, NODE_SIGN, value < 0, prior);
    turn(&in);
    uint32_t limit = magnitude_of(in.negative ? range->lowest : range->highest);
    in.low = in.high;
    in.high = mass_from(&in, edge_of(&e, (uint64_t)limit + 1));

    /* The power of two below the magnitude, counted up or down from the one to expect. */
    uint32_t k = m->octave + shift;
    while (k && limit >> k == 0)
        k--;
    if (!k || cut(m, rc, &in, octave_node(k, NODE_FIRST), size >> k != 0, edge_of(&e, 1ull << k))) {
        while (limit >> k > 1 && cut(m, rc, &in, octave_node(k, NODE_UP), size >> (k + 1) != 0,
                                     edge_of(&e, 2ull << k)))
            k++;
    } else {
        k--;
        while (k && !cut(m, rc, &in, octave_node(k, NODE_DOWN), size >> k != 0,
                         edge_of(&e, 1ull << k)))
            k--;
    }
    /* The bits below it: the first three by tree, others by place, and from the seventh as is. */
    in.low = bend_at(m, &in, edge_of(&e, 1ull << k));
    in.high = bend_at(m, &in, edge_of(&e, 2ull << k));
    uint32_t octave = octave_node(k, NODE_BITS);
    for (uint32_t left = k; left-- > 0;) {
        uint32_t done = k - 1 - left, bit = size >> left & 1;
        uint32_t middle = (got * 2 + 1) << left;
        if (middle > limit) {
            bit = 0;
            in.high = bend_at(m, &in, edge_of(&e, middle));
        } else if (done < INTEGER_BITS) {
            uint32_t node = bit_node(octave, got);
            bit = (uint32_t)halve(m, rc, &in, node, exact_bit(k, node, got, in.negative),
                                  (int)bit, edge_of(&e, middle));
        } else {
            bit = plt_raw_bits(rc, bit, 1);
        }
        got = got * 2 + bit;
    }
    value = in.negative ? (int32_t)(0u - got) : (int32_t)got;
    int32_t seen = (int32_t)at_most(got >> shift, 32767);
    if (m->grid)
        seen = plt_trellis_level(seen, m->grid - 1);
    learn(m, in.negative ? -seen : seen);
    return value;
}

int32_t plt_model_trellis(plt_model *m, plt_range *rc, int32_t level, const plt_integer *range)
{
    uint8_t *state = &m->state[m->along ? 0 : m->now.inner];

    if (m->along && m->now.inner == 0)
        *state = 0;
    uint32_t grid = *state & 1u;
    m->grid = 1 + grid;
    int32_t index = plt_model_integer(m, rc, plt_trellis_index(level, grid), range);
    *state = plt_trellis_after(*state, (uint8_t)index);
    return plt_trellis_level(index, grid);
}

static int code_bit(plt_model *m, plt_range *rc, plt_counter *c, uint32_t bit)
{
    uint32_t p = plt_counter_p16(*c);
    int got = plt_bit(rc, (int)bit, p < 32 ? 32 : p > 65504 ? 65504 : p);
    plt_counter_update(&m->tables, c, got, COUNTER_LIMIT);
    return got;
}

/* A float is zero or not, has a sign, an octave counted from the tensor's largest exponent, and
 * mantissa bits. Octaves 1..FLOAT_OCTAVES - 1 are told apart here; what is smaller (octave 0) or
 * larger than was said (octave FLOAT_OCTAVES: infinities, NaNs) gives its exponent in full. */
enum { FLOAT_OCTAVES = 24, FLOAT_UNIT = 13, FLOAT_SHIFT = FLOAT_OCTAVES - 1 - FLOAT_UNIT };

static int32_t float_magnitude(const plt_float *f, uint32_t exponent, uint32_t mantissa)
{
    uint32_t whole = exponent ? 1u << f->mantissa_bits | mantissa : mantissa;
    int32_t shift = (int32_t)f->largest - (int32_t)(exponent ? exponent : 1) +
                    (int32_t)f->mantissa_bits - FLOAT_UNIT;
    if (exponent > f->largest)
        return 32767;
    if (shift < 0)
        return (int32_t)(whole << at_most((uint32_t)-shift, 8));
    return shift > 31 ? 0 : (int32_t)(whole >> shift);
}

/* The beginning of octave k, in 1/4096. */
static int64_t float_edge(uint32_t k)
{
    return ((int64_t)4096 << k) >> FLOAT_SHIFT;
}

/* An exponent that the octaves do not tell, as an 8-bit or 5-bit number. */
static uint32_t code_exponent(plt_model *m, plt_range *rc, plt_counter *tree, uint32_t exponent,
                              uint32_t bits)
{
    uint32_t got = 1;
    for (uint32_t left = bits; left-- > 0;)
        got = got * 2 + (uint32_t)code_bit(m, rc, &tree[got], exponent >> left & 1);
    return got - (1u << bits);
}

uint32_t plt_model_float(plt_model *m, plt_range *rc, uint32_t value, const plt_float *f)
{
    uint32_t mbits = f->mantissa_bits, ebits = f->exponent_bits;
    uint32_t mantissa = value & ((1u << mbits) - 1);
    uint32_t exponent = value >> mbits & ((1u << ebits) - 1);
    uint32_t sign = value >> (mbits + ebits) & 1;
    int32_t base = (int32_t)f->largest - (FLOAT_OCTAVES - 1);
    interval in;

    expect(m);
    choose_contexts(m);
    if (decide(m, rc, ALL_MODELS, NODE_ZERO, NODE_ZERO, !exponent && !mantissa, 0)) {
        sign = (uint32_t)plt_bit(rc, (int)sign, 64);
        learn(m, 0);
        return sign << (mbits + ebits);
    }
    in.d = expected(&m->now);
    in.low = in.high = mass_below(&in.d, 0);
    int prior = split(in.low, MASS, MASS + in.low);
    sign = (uint32_t)decide(m, rc, ALL_MODELS, NODE_SIGN, NODE_SIGN, (int)sign, prior);
    in.negative = sign;
    turn(&in);
    in.high = MASS;

    int32_t octave = (int32_t)exponent - base;
    uint32_t aim = exponent > f->largest ? FLOAT_OCTAVES : octave < 0 ? 0 : (uint32_t)octave;
    uint32_t k = at_most(m->octave + FLOAT_SHIFT, FLOAT_OCTAVES - 1);
    if (cut(m, rc, &in, octave_node(k, NODE_FIRST), aim >= k, float_edge(k))) {
        while (k < FLOAT_OCTAVES &&
               cut(m, rc, &in, octave_node(k, NODE_UP), aim >= k + 1, float_edge(k + 1)))
            k++;
    } else {
        k--;
        while (k && !cut(m, rc, &in, octave_node(k, NODE_DOWN), aim >= k, float_edge(k)))
            k--;
    }
    if (k == 0 || k == FLOAT_OCTAVES)
        exponent = code_exponent(m, rc, m->exponent[k != 0], exponent, ebits);
    else
        exponent = (uint32_t)(base + (int32_t)k);

    uint32_t coded = mbits - f->zero_bits, got = 1, left = coded;
    in.low = bend_at(m, &in, float_edge(k));
    in.high = bend_at(m, &in, float_edge(k + 1));
    while (left && coded - left < f->model_bits) {
        uint32_t done = coded - left, node = bit_node(octave_node(k, NODE_BITS), got);
        int64_t middle = ((int64_t)(got * 2 + 1) << k << 12) >> (done + 1 + FLOAT_SHIFT);
        left--;
        int bit = (int)(mantissa >> (left + f->zero_bits) & 1);
        bit = halve(m, rc, &in, node, on_its_side(&in, node), bit, middle);
        got = got * 2 + (uint32_t)bit;
    }
    got = got << left | plt_raw_bits(rc, mantissa >> f->zero_bits, left);
    mantissa = (got << f->zero_bits) & ((1u << mbits) - 1);
    int32_t size = float_magnitude(f, exponent, mantissa);
    learn(m, sign ? -size : size);
    return sign << (mbits + ebits) | exponent << mbits | mantissa;
}
