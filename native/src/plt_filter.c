/* See plt_filter.h. */
#include "plt_filter.h"

#include "plt_logistic.h"

#include <string.h>

enum { ERROR_LIMIT = 511, ABOVE_RATE = 48, BESIDE_RATE = 32 };

void plt_filter_begin(plt_filter *f, uint32_t columns)
{
    f->reach = 0;
    f->by_above = f->by_beside = 0;
    if (columns > PLT_FILTER_COLUMNS)
        return;
    f->reach = PLT_BESIDE;
    while (f->reach > PLT_BESIDE_LEAST &&
           (f->reach / 2 >= columns || f->reach * columns > PLT_FILTER_WEIGHTS))
        f->reach /= 2;
    memset(f->beside_weight, 0, (size_t)f->reach * columns * sizeof *f->beside_weight);
    memset(f->above, 0, columns * sizeof *f->above);
    memset(f->line, 0, PLT_BESIDE * sizeof *f->line);
}

/* 64 products of 10 and 15 bits fit. */
static int32_t filtered(const int16_t *x, const int16_t *w, uint32_t n)
{
    plt_sums sums = plt_sums_begin();
    for (uint32_t i = 0; i < n; i += 8)
        sums = plt_sums_add(sums, plt_eight_load(x + i), plt_eight_load(w + i));
    return plt_within(plt_sums_total(sums) >> 15, PLT_FILTER_LIMIT);
}

/* Moves the weights along the inputs, by `step` / 65536. */
static void adjust(int16_t *w, const int16_t *x, uint32_t n, int16_t step)
{
    for (uint32_t i = 0; i < n; i += 8)
        plt_eight_store(w + i, plt_eight_add(plt_eight_load(w + i),
                                             plt_eight_scaled(plt_eight_load(x + i), step)));
}

void plt_filter_predict(plt_filter *f, uint32_t column)
{
    if (!f->reach)
        return;
    if (column == 0)
        memset(f->above_weight, 0, sizeof f->above_weight);
    f->by_above = filtered(f->above[column], f->above_weight, PLT_ABOVE);
    f->by_beside = filtered(f->line + PLT_BESIDE + column - f->reach,
                            f->beside_weight + (size_t)column * f->reach, f->reach);
}

void plt_filter_learn(plt_filter *f, uint32_t row, uint32_t column, int32_t value)
{
    if (!f->reach)
        return;
    int32_t above = plt_within(value - f->by_above, ERROR_LIMIT) * ABOVE_RATE;
    int32_t beside = plt_within(value - f->by_beside, ERROR_LIMIT) * BESIDE_RATE;
    adjust(f->above_weight, f->above[column], PLT_ABOVE, (int16_t)above);
    adjust(f->beside_weight + (size_t)column * f->reach, f->line + PLT_BESIDE + column - f->reach,
           f->reach, (int16_t)beside);
    f->above[column][row % PLT_ABOVE] = (int16_t)value;
    f->line[PLT_BESIDE + column] = (int16_t)value;
}
