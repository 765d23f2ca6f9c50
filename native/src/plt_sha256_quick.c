/* SHA-256 by the instructions that x86 and Arm have for it, some eight times as fast; the same
 * result. An x86 processor is asked at run time. Arm's can not be asked without an operating
 * system: there the compiler must have been told, as Apple's is, and Android's by
 * -march=armv8-a+crypto. PLT_PLAIN leaves them out.
 */
#include "plt_sha256.h"

#if !defined(PLT_PLAIN) && defined(__GNUC__) && defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>

int plt_sha256_is_quick(void)
{
    unsigned a, b, c, d;
    int sse41 = __get_cpuid(1, &a, &b, &c, &d) && c >> 19 & 1;
    return sse41 && __get_cpuid_count(7, 0, &a, &b, &c, &d) && b >> 29 & 1;
}

/* The instructions hold the state as two halves, a b e f and c d g h, highest first. */
__attribute__((target("sha,sse4.1"))) void plt_sha256_quickly(uint32_t *state, const uint8_t *data,
                                                              size_t blocks)
{
    const __m128i order = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    const __m128i *rounds = (const void *)plt_sha256_rounds;
    __m128i badc = _mm_shuffle_epi32(_mm_loadu_si128((const void *)state), 0xb1);
    __m128i hgfe = _mm_shuffle_epi32(_mm_loadu_si128((const void *)(state + 4)), 0x1b);
    __m128i feba = _mm_alignr_epi8(badc, hgfe, 8), hgdc = _mm_blend_epi16(hgfe, badc, 0xf0);

    for (; blocks > 0; blocks--, data += 64) {
        __m128i w[4], first = feba, second = hgdc;
        for (int i = 0; i < 4; i++)
            w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const void *)(data + 16 * i)), order);
        for (int i = 0; i < 16; i++) {
            __m128i now = w[i & 3], *next = &w[(i + 1) & 3];
            __m128i sum = _mm_add_epi32(now, _mm_loadu_si128(rounds + i));
            hgdc = _mm_sha256rnds2_epu32(hgdc, feba, sum);
            feba = _mm_sha256rnds2_epu32(feba, hgdc, _mm_shuffle_epi32(sum, 0x0e));
            /* w[i + 4] takes the place of w[i]: all it needs is still there */
            __m128i ahead = _mm_alignr_epi8(w[(i + 3) & 3], w[(i + 2) & 3], 4);
            ahead = _mm_add_epi32(_mm_sha256msg1_epu32(now, *next), ahead);
            w[i & 3] = _mm_sha256msg2_epu32(ahead, w[(i + 3) & 3]);
        }
        feba = _mm_add_epi32(feba, first);
        hgdc = _mm_add_epi32(hgdc, second);
    }
    __m128i abef = _mm_shuffle_epi32(feba, 0x1b), dchg = _mm_shuffle_epi32(hgdc, 0xb1);
    _mm_storeu_si128((void *)state, _mm_blend_epi16(abef, dchg, 0xf0));
    _mm_storeu_si128((void *)(state + 4), _mm_alignr_epi8(dchg, abef, 8));
}

#elif !defined(PLT_PLAIN) && (defined(__ARM_FEATURE_SHA2) || defined(__ARM_FEATURE_CRYPTO))

#include <arm_neon.h>

int plt_sha256_is_quick(void)
{
    return 1;
}

void plt_sha256_quickly(uint32_t *state, const uint8_t *data, size_t blocks)
{
    uint32x4_t abcd = vld1q_u32(state), efgh = vld1q_u32(state + 4);

    for (; blocks > 0; blocks--, data += 64) {
        uint32x4_t w[4], first = abcd, second = efgh;
        for (int i = 0; i < 4; i++)
            w[i] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(data + 16 * i)));
        for (int i = 0; i < 16; i++) {
            uint32x4_t sum = vaddq_u32(w[i & 3], vld1q_u32(plt_sha256_rounds + 4 * i));
            uint32x4_t before = abcd;
            abcd = vsha256hq_u32(abcd, efgh, sum);
            efgh = vsha256h2q_u32(efgh, before, sum);
            w[i & 3] = vsha256su1q_u32(vsha256su0q_u32(w[i & 3], w[(i + 1) & 3]), w[(i + 2) & 3],
                                       w[(i + 3) & 3]);
        }
        abcd = vaddq_u32(abcd, first);
        efgh = vaddq_u32(efgh, second);
    }
    vst1q_u32(state, abcd);
    vst1q_u32(state + 4, efgh);
}

#else

int plt_sha256_is_quick(void)
{
    return 0;
}

void plt_sha256_quickly(uint32_t *state, const uint8_t *data, size_t blocks)
{
    (void)state;
    (void)data;
    (void)blocks;
}

#endif
