/* Logistic arithmetic: adaptive probabilities and their mixing, in integers only.
 *
 * A probability p travels between models as its stretch, ln(p / (1 - p)), in units of 1/256 and
 * limited to +-8. A mixer adds the stretches of several models, weighted, squashes the sum back to
 * a probability, and moves its weights along the gradient of the coding cost. This is the "logistic
 * mixing" of Mahoney's PAQ7 and lpaq (M. Mahoney, Data Compression Explained, 2013, sec. 4.3.2).
 */
#ifndef PLT_LOGISTIC_H
#define PLT_LOGISTIC_H

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

/* Moves the counter towards `bit`: by 1/n at first, never by less than 1/limit. */
static inline void plt_counter_update(const plt_tables *t, plt_counter *c, int bit, uint32_t limit)
{
    uint32_t n = *c & 1023, p = *c >> 10;
    uint32_t delta = bit ? 0x3fffffu - p : p;
    uint32_t step = (uint32_t)(((uint64_t)delta * t->rate[n]) >> 16);

    p = bit ? p + step : p - step;
    *c = p << 10 | (n < limit ? n + 1 : limit);
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

/* Mixers have 8 or 16 inputs: compilers turn the loops into a few vector instructions. */
enum { PLT_ONE = 1 << 15, PLT_WEIGHT_LIMIT = 30000 };

/* sum of x[i] * w[i] / PLT_ONE, a stretch */
static inline int plt_mix_dot(const int16_t *x, const int16_t *w, int n)
{
    int32_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += (int32_t)x[i] * w[i];
    sum >>= 15;
    return sum > PLT_STRETCH_LIMIT ? PLT_STRETCH_LIMIT
                                   : sum < -PLT_STRETCH_LIMIT ? -PLT_STRETCH_LIMIT : sum;
}

/* Moves the weights along the inputs by `step`, the error of the mixer's probability in 1/16384. */
static inline void plt_mix_learn(const int16_t *x, int16_t *w, int n, int16_t step)
{
    for (int i = 0; i < n; i++) {
        int16_t v = w[i];
        v = v > PLT_WEIGHT_LIMIT ? PLT_WEIGHT_LIMIT : v;
        v = v < -PLT_WEIGHT_LIMIT ? -PLT_WEIGHT_LIMIT : v;
        w[i] = (int16_t)(v + (int16_t)(((((int32_t)x[i] * step) >> 15) + 1) >> 1));
    }
}

#endif
