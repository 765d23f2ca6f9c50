/* The tensor model: what the coder expects of the next weight, and how it learns from it.
 *
 * A tensor is `rows` rows of `channels` x `taps` values, where a row is one output channel, a
 * channel one input channel, and the taps are the positions of the kernel. Weights that share a
 * row, a column, a channel or a neighbourhood share a scale; the taps of one kernel also share a
 * sign and a value. The model measures all of these from the past only, so the decoder can.
 */
#ifndef PLT_TENSOR_H
#define PLT_TENSOR_H

#include "plt_filter.h"
#include "plt_logistic.h"
#include "plt_range.h"
#include "plt_trellis.h"

/* Fuzzers take small tables: the same code, many times as often, of another stream. */
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
enum { PLT_COLUMNS = 1 << 5, PLT_HISTORY = 1 << 7, PLT_LEVELS = 1 << 3 };
#else
enum {
    PLT_COLUMNS = 1 << 14,   /* columns with a scale of their own; more share theirs */
    PLT_HISTORY = 1 << 16,   /* values that stay in reach of neighbour contexts */
    PLT_LEVELS = 1 << 10     /* situations that each context tells apart */
};
#endif

enum {
    PLT_MAX_TAPS = 49,
    PLT_NODES = 240,         /* binary decisions that make up one value */
    PLT_NEIGHBOURS = 10,     /* earlier values that the prediction is made from */
    PLT_PREDICTORS = 12,     /* those and the two filters */
    PLT_RECENT = 64,         /* values between two solutions for the predictors' weights */
    PLT_CONTEXTS = 4,        /* counters asked for a decision, at most; the first is exact */
    PLT_INPUTS = 8,          /* those, the distribution, a constant, and zeros */
    PLT_SETS = 16,           /* situations with mixing weights of their own */
    PLT_EXACT = 2 * PLT_NODES + 2 * 256, /* decisions by value and sign, up to 255 */
    PLT_GRIDS = 3            /* every integer; those of either grid of the trellis */
};

/* Kinds of numbers, whose contexts are kept apart. */
enum { PLT_KIND_WIDE, PLT_KIND_INTEGER, PLT_KIND_FLOAT, PLT_KIND_PALETTE };

typedef struct {
    uint32_t rows, channels, taps;
    uint32_t tap_width;      /* taps along the last kernel axis */
    uint32_t channels_last;  /* memory order rows, taps, channels instead of rows, channels, taps */
} plt_shape;

/* Everything known about the next value before it is coded. Scales are mean magnitudes in 1/256. */
typedef struct {
    uint32_t row, inner, tap, channel; /* where it stands */
    uint32_t column;         /* inner, or what shares a scale with it */
    uint32_t row_scale, column_scale, scale;
    int32_t predicted;       /* least-squares prediction, in 1/16 */
    uint32_t error_scale;    /* mean distance from the prediction at this tap, in 1/256 */
} plt_expectation;

typedef struct {
    int32_t weight[PLT_PREDICTORS];                       /* in 1/65536 */
    int64_t moment[PLT_PREDICTORS + 1][PLT_PREDICTORS + 1];
    int16_t recent[PLT_PREDICTORS + 1][PLT_RECENT];       /* not in the moments yet */
    uint32_t distance[PLT_NEIGHBOURS];                    /* 0: out of reach */
    uint32_t neighbours;
    uint32_t count;
    uint32_t error, magnitude;                            /* running means, in 1/65536 */
} plt_predictor;

/* The same tensor in the file that this one is a difference to. Steps of quantisation may differ
 * from row to row, so every row has a ratio of its own. */
typedef struct {
    int on;
    int32_t value;           /* what stands there at the place of the next value */
    int64_t dot, square;     /* sums of value times reference and of reference squared: the row's */
    int64_t all_dot, all_square;
} plt_reference;

typedef struct {
    plt_tables tables;
    /* the tensor at hand */
    plt_shape shape;
    uint32_t kind, index;
    uint32_t row_sum, row_count, mean, previous_row;
    uint32_t column_bits;    /* columns >> column_bits share a scale */
    uint32_t column[PLT_COLUMNS];
    uint32_t channel[PLT_COLUMNS];
    int16_t history[PLT_HISTORY];
    plt_predictor predictor[PLT_MAX_TAPS];
    plt_filter filter;
    plt_expectation now;
    int32_t neighbour[PLT_PREDICTORS];
    plt_reference reference;
    uint32_t grid;           /* 0, or 1 + the grid of the trellis that the next number is on */
    uint32_t along;          /* the trellis runs along the rows, not down the columns */
    uint8_t state[PLT_HISTORY];                           /* of the trellis, by column */
    /* what tells the value at hand */
    uint32_t octave;         /* floor(log2) of the magnitude to expect */
    plt_counter *exact_at, *counter_at[PLT_CONTEXTS - 1]; /* of its contexts, from node 0 on */
    int16_t (*weight_at[2])[PLT_INPUTS];
    /* what has been learnt */
    plt_counter exact[PLT_GRIDS][PLT_EXACT];
    plt_counter counter[PLT_CONTEXTS - 1][PLT_LEVELS * PLT_NODES];
    int16_t weight[2][PLT_NODES * PLT_SETS][PLT_INPUTS];
    plt_counter exponent[2][256];
} plt_model;

void plt_model_init(plt_model *m);
/* Begins a tensor; `kind` keeps what is learnt from different kinds of numbers apart. With
 * `referenced`, set m->reference.value before every integer. */
void plt_model_tensor(plt_model *m, const plt_shape *shape, uint32_t kind, int referenced);

/* The range of a tensor's integers; `shift` is what brings nearly all of them below 2^14. */
typedef struct {
    int32_t lowest, highest;
    uint32_t shift;
} plt_integer;

/* Codes the next integer of the tensor, lowest <= value <= highest. */
int32_t plt_model_integer(plt_model *m, plt_range *rc, int32_t value, const plt_integer *range);

/* Makes the tensor just begun one along a trellis, with at most PLT_HISTORY columns unless it runs
 * along the rows. */
void plt_model_trellis_begin(plt_model *m, uint32_t along);

/* Codes the next number of such a tensor; `range` is that of its indices, without a shift. */
int32_t plt_model_trellis(plt_model *m, plt_range *rc, int32_t level, const plt_integer *range);

/* The layout of a float, and what is known of all those in a tensor. */
typedef struct {
    uint32_t exponent_bits, mantissa_bits;
    uint32_t largest;        /* largest exponent field that is not all ones */
    uint32_t zero_bits;      /* lowest mantissa bits that are zero everywhere */
    uint32_t model_bits;     /* highest mantissa bits that are modelled; the others are stored */
} plt_float;

/* Codes one float, given by its bits. */
uint32_t plt_model_float(plt_model *m, plt_range *rc, uint32_t value, const plt_float *format);

#endif
