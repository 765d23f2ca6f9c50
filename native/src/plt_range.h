/* Binary range coder: one bit at a time, each with the probability its model gave it.
 *
 * The coder is carry-propagating (Martin 1979; the byte-wise form is Subbotin's, and that of LZMA).
 * `low` and `range` describe the interval that is left; every bit narrows it in proportion to its
 * probability, and a byte leaves whenever the top byte of `range` is empty. Probabilities have 16
 * bits and are those of a one. The product is exact (64 bits), so no precision is lost to it.
 *
 * One structure serves three uses, told apart by `mode`, so that every model is written once:
 *   PLT_DECODE   plt_bit() ignores its `bit` argument and returns the decoded one;
 *   PLT_ENCODE   plt_bit() appends to `out`;
 *   PLT_MEASURE  as PLT_ENCODE, but only counts the bytes.
 * Input past the end reads as zeros, which lets the encoder drop trailing zeros; the container's
 * checksums catch input that was cut.
 */
#ifndef PLT_RANGE_H
#define PLT_RANGE_H

#include <stddef.h>
#include <stdint.h>

enum plt_mode { PLT_DECODE, PLT_ENCODE, PLT_MEASURE };

typedef struct {
    enum plt_mode mode;
    uint32_t range;
    uint32_t code;         /* decoder: the input, relative to the interval's lower end */
    uint64_t low;          /* encoder: the interval's lower end; bit 32 is a carry */
    uint64_t pending;      /* encoder: how many bytes wait behind `held` for a carry */
    uint8_t held;          /* encoder: the last byte that a carry may still change */
    uint8_t started;       /* encoder: `held` is valid */
    uint8_t failed;        /* encoder: `out` was too small */
    const uint8_t *in;
    uint8_t *out;
    size_t position;       /* next byte of `in` or `out` */
    size_t size;           /* bytes of `in`, or capacity of `out` */
} plt_range;

void plt_range_decode(plt_range *rc, const uint8_t *in, size_t size);
void plt_range_encode(plt_range *rc, uint8_t *out, size_t capacity);
void plt_range_measure(plt_range *rc);

/* Writes what is pending; returns the number of bytes in all. Check `failed` afterwards. */
size_t plt_range_finish(plt_range *rc);

void plt_range_shift(plt_range *rc);

/* Codes one bit that is a one with probability `p1` / 65536, 0 < p1 < 65536. */
static inline int plt_bit(plt_range *rc, int bit, uint32_t p1)
{
    uint32_t bound = (uint32_t)(((uint64_t)rc->range * p1) >> 16);

    if (rc->mode == PLT_DECODE) {
        if (rc->code < bound) {
            rc->range = bound;
            bit = 1;
        } else {
            rc->code -= bound;
            rc->range -= bound;
            bit = 0;
        }
        while (rc->range < (1u << 24)) {
            uint32_t byte = rc->position < rc->size ? rc->in[rc->position] : 0;
            rc->position++;
            rc->code = (rc->code << 8) | byte;
            rc->range <<= 8;
        }
        return bit;
    }
    if (bit) {
        rc->range = bound;
    } else {
        rc->low += bound;
        rc->range -= bound;
    }
    while (rc->range < (1u << 24)) {
        plt_range_shift(rc);
        rc->range <<= 8;
    }
    return bit;
}

/* Codes the low `count` bits of `value`, 0..32, top bit first, as they are. */
uint32_t plt_raw_bits(plt_range *rc, uint32_t value, unsigned count);

#endif
