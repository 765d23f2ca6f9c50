/* Two adaptive filters over a tensor: a value from those above it and those beside it.
 *
 * Rows of a classifier resemble rows before them, and columns that see like features resemble each
 * other in every row. Both are learnt on the way (least mean squares; Widrow & Hoff, 1960): the
 * filter above has a weight for each of the last rows and begins anew with every row; the filter
 * beside has weights of its own for every column and keeps them.
 */
#ifndef PLT_FILTER_H
#define PLT_FILTER_H

#include <stdint.h>

#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
enum { PLT_FILTER_COLUMNS = 1 << 5 };
#else
enum { PLT_FILTER_COLUMNS = 1 << 14 };   /* longer rows are not filtered */
#endif

enum {
    PLT_ABOVE = 32,          /* rows that the filter above looks at */
    PLT_BESIDE = 64,         /* items of the row that the filter beside looks at, at most */
    PLT_BESIDE_LEAST = 32,
    PLT_FILTER_WEIGHTS = PLT_FILTER_COLUMNS * PLT_BESIDE_LEAST,
    PLT_FILTER_LIMIT = 1023  /* of a value, in 1/256 of the scale expected */
};

typedef struct {
    uint32_t reach;          /* items that the filter beside looks at; 0: no filters */
    int32_t by_above, by_beside; /* the predictions at hand, in 1/256 of the scale */
    int16_t above_weight[PLT_ABOVE];                      /* in 1/32768 */
    int16_t beside_weight[PLT_FILTER_WEIGHTS];            /* `reach` for each column */
    int16_t above[PLT_FILTER_COLUMNS][PLT_ABOVE];         /* the last rows, by row % PLT_ABOVE */
    int16_t line[PLT_BESIDE + PLT_FILTER_COLUMNS];        /* zeros, then the row at hand */
} plt_filter;

/* Begins a tensor of rows of `columns` items. */
void plt_filter_begin(plt_filter *f, uint32_t columns);

/* Predicts the item at `column`. */
void plt_filter_predict(plt_filter *f, uint32_t column);

/* Learns that it was `value`, within +-PLT_FILTER_LIMIT. */
void plt_filter_learn(plt_filter *f, uint32_t row, uint32_t column, int32_t value);

#endif
