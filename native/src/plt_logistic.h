/* Logistic arithmetic: adaptive probabilities and their mixing, in integers only.
 *
 * A probability p travels between models as its stretch, ln(p / (1 - p)), in units of 1/256 and
 * limited to +-8. A mixer adds the stretches of several models, weighted, squashes the sum back to
 * a probability, and moves its weights along the gradient of the coding cost. This is the "logistic
 * mixing" of Mahoney's PAQ7 and lpaq (M. Mahoney, Data Compression Explained, 2013, sec. 4.3.2).
 */
#ifndef PLT_LOGISTIC_H
#define PLT_LOGISTIC_H

#include "plt_eight.h"

#include <stddef.h>
#include <stdint.h>

enum { PLT_STRETCH_LIMIT = 2047 };

typedef struct {
    uint16_t squash[4096];  /* stretch + 2048 -> probability of a one, 16 bits, never 0 */
    int16_t stretch[4096];  /* probability, 12 bits -> stretch */
    uint16_t rate[1024];    /* observations so far -> how far a counter moves, of 65536 */
} plt_tables;

void plt_tables_init(plt_tables *t);

/* The logistic distribution function at t / 4096, scaled to 2^30. */
uint32_t plt_logistic(int64_t t);

/* A counter: a probability of 22 bits above a count of observations of 10 bits. */
typedef uint32_t plt_counter;

#define PLT_COUNTER_NEW (1u << 31)

/* The place of the highest one; v >= 1. */
static inline uint32_t plt_top_bit(uint32_t v)
{
#if defined(__GNUC__)
    return 31u - (uint32_t)__builtin_clz(v);
#else
    uint32_t top = 0;
    while (v >>= 1)
        top++;
    return top;
#endif
}

static inline uint32_t plt_counter_p16(plt_counter c)
{
    return c >> 16;
}

/* Moves the counter towards `bit`: by 1/n at first, never by less than 1/limit. Towards a one it is
 * the same with every bit of the probability inverted, and so without a branch. */
static inline void plt_counter_update(const plt_tables *t, plt_counter *c, int bit, uint32_t limit)
{
    uint32_t inverted = 0u - ((uint32_t)bit << 10), v = *c ^ inverted, n = v & 1023;
    uint32_t step = (uint32_t)(((uint64_t)(v >> 10) * t->rate[n]) >> 16);

    *c = (v - (step << 10) + (n < limit)) ^ inverted;
}

static inline int plt_stretch(const plt_tables *t, uint32_t p16)
{
    return t->stretch[p16 >> 4];
}

static inline uint32_t plt_squash(const plt_tables *t, int stretch)
{
    if (stretch > PLT_STRETCH_LIMIT)
        stretch = PLT_STRETCH_LIMIT;
    if (stretch < -PLT_STRETCH_LIMIT)
        stretch = -PLT_STRETCH_LIMIT;
    return t->squash[stretch + 2048];
}

enum { PLT_ONE = 1 << 15, PLT_WEIGHT_LIMIT = 30000 };

/* What stretches, weighted, mix to. */
static inline int plt_mixed(plt_sums sums)
{
    int32_t sum = plt_sums_total(sums) >> 15;
    return sum > PLT_STRETCH_LIMIT ? PLT_STRETCH_LIMIT
                                   : sum < -PLT_STRETCH_LIMIT ? -PLT_STRETCH_LIMIT : sum;
}

static inline plt_sums plt_mix_add(plt_sums sums, plt_eight x, const int16_t *w)
{
    return plt_sums_add(sums, x, plt_eight_load(w));
}

/* Moves eight weights along their inputs, where the mixer's stretch should have been the bit's. */
static inline void plt_mix_learn(const plt_tables *t, plt_eight x, int16_t *w, int stretch, int bit)
{
    int error = (bit ? 65535 : 0) - (int)plt_squash(t, stretch);
    plt_eight old = plt_eight_limit(plt_eight_load(w), PLT_WEIGHT_LIMIT);
    plt_eight_store(w, plt_eight_moved(old, x, (int16_t)(error >> 1)));
}

#endif
