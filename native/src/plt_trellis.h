/* Trellis-coded integers: each one says which grid the next one of its column is on.
 *
 * Grid 0 holds the even numbers, grid 1 zero and the odd ones. A column begins in state 0, is on
 * grid `state & 1`, and moves by the parity of the index: the place of its number among those of
 * the grid, with the sign of the number. Half of the numbers are left out at every step, and yet
 * some path lies closer to any sequence of targets than a single grid of the same rate.
 */
#ifndef PLT_TRELLIS_H
#define PLT_TRELLIS_H

#include <stdint.h>

enum { PLT_TRELLIS_STATES = 8 };

static inline int32_t plt_trellis_sign(int32_t v)
{
    return (v > 0) - (v < 0);
}

/* From states 0 to 7 an even index leads to 0 5 1 6 2 4 3 7, an odd one to 2 7 3 4 0 6 1 5; in bits,
 * as compilers do that for many columns at once. */
static inline uint8_t plt_trellis_after(uint8_t state, uint8_t index)
{
    uint8_t high = state >> 2 & 1, middle = state >> 1 & 1, grid = state & 1;
    uint8_t turn = (uint8_t)((grid & middle) | (high & ~grid));
    return (uint8_t)(grid << 2 | (turn ^ (index & 1)) << 1 | (middle ^ (grid & ~high)));
}

static inline int32_t plt_trellis_level(int32_t index, uint32_t grid)
{
    return 2 * index - (grid ? plt_trellis_sign(index) : 0);
}

/* Of a number that is on the grid. */
static inline int32_t plt_trellis_index(int32_t level, uint32_t grid)
{
    return (level + (grid ? plt_trellis_sign(level) : 0)) / 2;
}

#endif
