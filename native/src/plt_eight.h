/* Eight numbers of 16 bits at once, as mixers and filters take them.
 *
 * By the vector instructions that every x86-64 has, and every Arm of 64 bits; elsewhere, and with
 * PLT_PLAIN, in plain C. The results are the same.
 */
#ifndef PLT_EIGHT_H
#define PLT_EIGHT_H

#include <stdint.h>

#if !defined(PLT_PLAIN) && (defined(__SSE2__) || defined(_M_X64))

#include <emmintrin.h>

typedef __m128i plt_eight;
typedef __m128i plt_sums;    /* of products, four of 32 bits */

static inline plt_sums plt_sums_begin(void)
{
    return _mm_setzero_si128();
}

/* Four numbers in `low`, from its lowest bits on, and four in `high`. */
static inline plt_eight plt_eight_of(uint64_t low, uint64_t high)
{
    return _mm_set_epi64x((int64_t)high, (int64_t)low);
}

static inline plt_eight plt_eight_load(const int16_t *from)
{
    return _mm_loadu_si128((const void *)from);
}

static inline void plt_eight_store(int16_t *to, plt_eight v)
{
    _mm_storeu_si128((void *)to, v);
}

/* Adds the products, two to each of the four sums. */
static inline plt_sums plt_sums_add(plt_sums sums, plt_eight a, plt_eight b)
{
    return _mm_add_epi32(sums, _mm_madd_epi16(a, b));
}

static inline int32_t plt_sums_total(plt_sums sums)
{
    sums = _mm_add_epi32(sums, _mm_shuffle_epi32(sums, 0x4e));
    sums = _mm_add_epi32(sums, _mm_shuffle_epi32(sums, 0xb1));
    return _mm_cvtsi128_si32(sums);
}

/* x * step / 65536, rounded. */
static inline plt_eight plt_eight_scaled(plt_eight x, int16_t step)
{
    __m128i steps = _mm_set1_epi16(step);
    __m128i half = _mm_srli_epi16(_mm_mullo_epi16(x, steps), 15);
    return _mm_add_epi16(_mm_mulhi_epi16(x, steps), half);
}

/* The sums, limited to 16 bits. */
static inline plt_eight plt_eight_add(plt_eight a, plt_eight b)
{
    return _mm_adds_epi16(a, b);
}

#elif !defined(PLT_PLAIN) && defined(__aarch64__) && defined(__ARM_NEON)

#include <arm_neon.h>

typedef int16x8_t plt_eight;
typedef int32x4_t plt_sums;

static inline plt_sums plt_sums_begin(void)
{
    return vdupq_n_s32(0);
}

static inline plt_eight plt_eight_of(uint64_t low, uint64_t high)
{
    return vcombine_s16(vcreate_s16(low), vcreate_s16(high));
}

static inline plt_eight plt_eight_load(const int16_t *from)
{
    return vld1q_s16(from);
}

static inline void plt_eight_store(int16_t *to, plt_eight v)
{
    vst1q_s16(to, v);
}

static inline plt_sums plt_sums_add(plt_sums sums, plt_eight a, plt_eight b)
{
    return vmlal_high_s16(vmlal_s16(sums, vget_low_s16(a), vget_low_s16(b)), a, b);
}

static inline int32_t plt_sums_total(plt_sums sums)
{
    return vaddvq_s32(sums);
}

static inline plt_eight plt_eight_scaled(plt_eight x, int16_t step)
{
    int16x4_t low = vrshrn_n_s32(vmull_n_s16(vget_low_s16(x), step), 16);
    return vrshrn_high_n_s32(low, vmull_n_s16(vget_high_s16(x), step), 16);
}

static inline plt_eight plt_eight_add(plt_eight a, plt_eight b)
{
    return vqaddq_s16(a, b);
}

#else

typedef struct {
    int16_t v[8];
} plt_eight;

typedef int32_t plt_sums;

static inline plt_sums plt_sums_begin(void)
{
    return 0;
}

static inline plt_eight plt_eight_of(uint64_t low, uint64_t high)
{
    plt_eight e;
    for (int i = 0; i < 4; i++) {
        e.v[i] = (int16_t)(uint16_t)(low >> 16 * i);
        e.v[4 + i] = (int16_t)(uint16_t)(high >> 16 * i);
    }
    return e;
}

static inline plt_eight plt_eight_load(const int16_t *from)
{
    plt_eight e;
    for (int i = 0; i < 8; i++)
        e.v[i] = from[i];
    return e;
}

static inline void plt_eight_store(int16_t *to, plt_eight v)
{
    for (int i = 0; i < 8; i++)
        to[i] = v.v[i];
}

static inline plt_sums plt_sums_add(plt_sums sum, plt_eight a, plt_eight b)
{
    for (int i = 0; i < 8; i++)
        sum += (int32_t)a.v[i] * b.v[i];
    return sum;
}

static inline int32_t plt_sums_total(plt_sums sum)
{
    return sum;
}

/* Halves of products are what compilers find vector instructions for. */
static inline plt_eight plt_eight_scaled(plt_eight x, int16_t step)
{
    for (int i = 0; i < 8; i++) {
        int16_t high = (int16_t)((int32_t)x.v[i] * step >> 16);
        uint16_t low = (uint16_t)((uint32_t)x.v[i] * (uint32_t)step);
        x.v[i] = (int16_t)(high + (low >> 15));
    }
    return x;
}

static inline plt_eight plt_eight_add(plt_eight a, plt_eight b)
{
    for (int i = 0; i < 8; i++) {
        int32_t sum = (int32_t)a.v[i] + b.v[i];
        a.v[i] = (int16_t)(sum > 32767 ? 32767 : sum < -32768 ? -32768 : sum);
    }
    return a;
}

#endif

#endif
