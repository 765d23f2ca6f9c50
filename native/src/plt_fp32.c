/* See plt_fp32.h. */
#include "plt_fp32.h"

/* `kept` are the bits above `drop` others; the result of rounding to nearest even. */
static uint64_t round_even(uint64_t value, unsigned drop)
{
    uint64_t rest = value & ((1ull << drop) - 1), half = 1ull << (drop - 1), kept = value >> drop;
    return kept + (rest > half || (rest == half && (kept & 1)));
}

uint32_t plt_fp32_multiply(uint32_t a, uint32_t b)
{
    uint32_t ea = a >> 23 & 255, eb = b >> 23 & 255;
    if (!ea || !eb || ea == 255 || eb == 255)
        return 0;
    uint64_t product = (uint64_t)((a & 0x7fffff) | 0x800000) * ((b & 0x7fffff) | 0x800000);
    int32_t exponent = (int32_t)ea + (int32_t)eb - 127;
    unsigned drop = 23;
    if (product >> 47) {
        drop++;
        exponent++;
    }
    uint64_t kept = round_even(product, drop);
    if (kept >> 24) {
        kept >>= 1;
        exponent++;
    }
    if (exponent <= 0 || exponent >= 255)
        return 0;
    return ((a ^ b) & 0x80000000u) | (uint32_t)exponent << 23 | ((uint32_t)kept & 0x7fffff);
}

uint32_t plt_fp32_from_q60(uint64_t v)
{
    unsigned top = 63;
    if (!v)
        return 0;
    while (!(v >> top))
        top--;
    uint64_t kept = top > 23 ? round_even(v, top - 23) : v << (23 - top);
    if (kept >> 24) {
        kept >>= 1;
        top++;
    }
    return (127 + top - 60) << 23 | ((uint32_t)kept & 0x7fffff);
}
