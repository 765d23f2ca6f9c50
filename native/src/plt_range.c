/* The slow paths of the binary range coder; see plt_range.h. */
#include "plt_range.h"

void plt_range_decode(plt_range *rc, const uint8_t *in, size_t size)
{
    *rc = (plt_range){.mode = PLT_DECODE, .range = 0xffffffffu, .in = in, .size = size};
    for (int i = 0; i < 4; i++) {
        uint32_t byte = rc->position < size ? in[rc->position] : 0;
        rc->position++;
        rc->code = (rc->code << 8) | byte;
    }
}

void plt_range_encode(plt_range *rc, uint8_t *out, size_t capacity)
{
    *rc = (plt_range){.mode = PLT_ENCODE, .range = 0xffffffffu, .out = out, .size = capacity};
}

void plt_range_measure(plt_range *rc)
{
    *rc = (plt_range){.mode = PLT_MEASURE, .range = 0xffffffffu};
}

static void put(plt_range *rc, uint8_t byte)
{
    if (rc->mode == PLT_ENCODE) {
        if (rc->position < rc->size)
            rc->out[rc->position] = byte;
        else
            rc->failed = 1;
    }
    rc->position++;
}

/* Moves the top byte of `low` out; a byte 0xff waits until it is known whether a carry comes. */
void plt_range_shift(plt_range *rc)
{
    unsigned carry = (unsigned)(rc->low >> 32);
    uint8_t top = (uint8_t)(rc->low >> 24);

    if (carry || top != 0xff) {
        if (rc->started)
            put(rc, (uint8_t)(rc->held + carry));
        for (; rc->pending; rc->pending--)
            put(rc, (uint8_t)(0xff + carry));
        rc->held = top;
        rc->started = 1;
    } else {
        rc->pending++;
    }
    rc->low = (rc->low & 0x00ffffffu) << 8;
}

size_t plt_range_finish(plt_range *rc)
{
    /* The number in [low, low + range) that ends in the most zero bits. */
    uint64_t last = rc->low + rc->range - 1;
    unsigned keep = 0;
    for (unsigned zeros = 32; zeros-- > 0;) {
        uint64_t candidate = last >> zeros << zeros;
        if (candidate >= rc->low) {
            rc->low = candidate;
            keep = 32 - zeros;
            break;
        }
    }
    for (unsigned bits = 0; bits < keep + 8; bits += 8)
        plt_range_shift(rc);
    /* the decoder reads zeros past the end; one byte stays, so that no stream is empty */
    while (rc->mode == PLT_ENCODE && !rc->failed && rc->position > 1 && !rc->out[rc->position - 1])
        rc->position--;
    return rc->position;
}

uint32_t plt_raw_bits(plt_range *rc, uint32_t value, unsigned count)
{
    uint32_t read = 0;
    while (count > 0) {
        count--;
        read = read << 1 | (uint32_t)plt_bit(rc, (int)(value >> count & 1), 1u << 15);
    }
    return read;
}
