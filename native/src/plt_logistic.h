/* Logistic arithmetic: adaptive probabilities and their mixing, in integers only.
 *
 * A probability p travels between models as its stretch, ln(p / (1 - p)), in units of 1/256 and
 * limited to +-8. A mixer adds the stretches of several models, by two sets of weights, squashes the
 * sum back to a probability, and moves its weights along the gradient of the coding cost. This is the "logistic
 * mixing" of Mahoney's PAQ7 and lpaq (M. Mahoney, Data Compression Explained, 2013, sec. 4.3.2).
 */
#ifndef PLT_LOGISTIC_H
#define PLT_LOGISTIC_H

#include "plt_eight.h"

#include <stddef.h>
#include <stdint.h>

/* Compilers then branch where they would have every decision wait for a selection. */
#if defined(__GNUC__)
#define PLT_SELDOM(condition) __builtin_expect(condition, 0)
#else
#define PLT_SELDOM(condition) (condition)
#endif

/* What is done for every bit, from several places: calls would cost more than they save. */
#if defined(__GNUC__) && !defined(__OPTIMIZE_SIZE__)
#define PLT_INLINE inline __attribute__((always_inline))
#else
#define PLT_INLINE inline
#endif

enum { PLT_STRETCH_LIMIT = 2047, PLT_ONE = 1 << 15 };

typedef struct {
    uint16_t squash[4096];  /* stretch + 2048 -> probability of a one, 16 bits, never 0 */
    int16_t stretch[4096];  /* probability, 12 bits -> stretch */
    uint16_t rate[1024];    /* observations so far -> how far a counter moves, of 65536 */
    uint16_t bend[225];     /* distance in 1/16 -> bend, see plt_bend() */
} plt_tables;

void plt_tables_init(plt_tables *t);

/* The logistic distribution function at t / 4096, scaled to 2^30. */
uint32_t plt_logistic(int64_t t);

/* The bend of the distribution at t / 4096: ln cosh(t / 8192), in 1/4096. Of what lies between two
 * places, the half beyond the middle has a stretch of the first bend less the last. */
static inline uint32_t plt_bend(const plt_tables *t, int64_t x)
{
    uint32_t size = (uint32_t)(x < -(1 << 23) || x > 1 << 23 ? 1 << 23 : x < 0 ? -x : x);
    uint32_t i = size >> 8 < 223 ? size >> 8 : 223;       /* it goes on as a line */
    return t->bend[i] + ((uint32_t)(t->bend[i + 1] - t->bend[i]) * (size - (i << 8)) >> 8);
}

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
    uint32_t step = (uint32_t)((uint64_t)v * t->rate[n] >> 16) & ~1023u;

    *c = (v - step + ((n - limit) >> 31)) ^ inverted; /* the last term: n < limit */
}

static inline int plt_stretch(const plt_tables *t, uint32_t p16)
{
    return t->stretch[p16 >> 4];
}

/* The nearest number from -limit to limit. */
static inline int plt_within(int v, int limit)
{
    return v > limit ? limit : v < -limit ? -limit : v;
}

/* The probability of a stretch within the limit. */
static inline uint32_t plt_squash(const plt_tables *t, int stretch)
{
    return t->squash[stretch + 2048];
}

/* Adds what eight stretches come to by the weights of one set. */
static inline plt_sums plt_mix_add(plt_sums sums, plt_eight x, const int16_t *w)
{
    return plt_sums_add(sums, x, plt_eight_load(w));
}

/* What stretches mix to by two sets of weights: the mean of what either says. */
static inline int plt_mixed(plt_sums sums)
{
    int s = plt_sums_total(sums) >> 16;
    if (PLT_SELDOM(s > PLT_STRETCH_LIMIT || s < -PLT_STRETCH_LIMIT))
        s = plt_within(s, PLT_STRETCH_LIMIT);
    return s;
}

/* How far the weights of eight stretches move, either set's as far, when they mixed to the
 * probability `p` and `bit` came. */
static inline plt_eight plt_mix_step(plt_eight x, uint32_t p, int bit)
{
    int error = (bit ? 65535 : 0) - (int)p;
    return plt_eight_scaled(x, (int16_t)(error >> 1));
}

static inline void plt_mix_learn(int16_t *w, plt_eight step)
{
    plt_eight_store(w, plt_eight_add(plt_eight_load(w), step));
}

#endif
