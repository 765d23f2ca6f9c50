/* See plt_fp32.h. */
#include "plt_fp32.h"

/* v * 2^(exponent - 127), rounded to nearest even, v >= 1; 0 if that is not normal. */
static uint32_t nearest(uint64_t v, int32_t exponent)
{
    unsigned top = 63;
    while (!(v >> top))
        top--;
    uint64_t kept = v << (top < 23 ? 23 - top : 0);
    if (top > 23) {
        unsigned drop = top - 23;
        uint64_t rest = v & ((1ull << drop) - 1), half = 1ull << (drop - 1);
        kept = v >> drop;
        kept += rest > half || (rest == half && (kept & 1));
    }
    exponent += (int32_t)top + (kept >> 24 != 0); /* rounded up to the next power, with no bits */
    if (exponent <= 0 || exponent >= 255)
        return 0;
    return (uint32_t)exponent << 23 | ((uint32_t)kept & 0x7fffff);
}

uint32_t plt_fp32_multiply(uint32_t a, uint32_t b)
{
    uint32_t ea = a >> 23 & 255, eb = b >> 23 & 255;
    if (!ea || !eb || ea == 255 || eb == 255)
        return 0;
    uint64_t product = (uint64_t)((a & 0x7fffff) | 0x800000) * ((b & 0x7fffff) | 0x800000);
    uint32_t size = nearest(product, (int32_t)(ea + eb) - 127 - 2 * 23);
    return size ? ((a ^ b) & 0x80000000u) | size : 0;
}

uint32_t plt_fp32_from_int(int32_t v)
{
    uint32_t sign = v < 0 ? 0x80000000u : 0;
    return v ? sign | nearest((uint64_t)(v < 0 ? -v : v), 127) : 0;
}

uint32_t plt_fp32_from_q60(uint64_t v)
{
    return v ? nearest(v, 127 - 60) : 0;
}
