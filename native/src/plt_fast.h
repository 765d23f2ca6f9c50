/* The fast codec: bytes of a tensor in planes, each with one static table (plt_rans.h), and bytes
 * without structure as literals and matches (Lempel & Ziv, 1977) whose numbers are planes too.
 */
#ifndef PLT_FAST_H
#define PLT_FAST_H

#include "plt_rans.h"

enum {
    PLT_FAST_BLOCK = 1 << 14,
    PLT_FAST_TAPS = 25,      /* of a kernel at most */
    PLT_FAST_BACK = 8,       /* earlier taps that a tap is predicted from */
    PLT_FAST_REACH = 8,      /* classes of predictions on either side of zero */
    PLT_FAST_CLASSES = 2 * PLT_FAST_REACH + 1,
    PLT_FAST_TABLES = 2 * PLT_FAST_CLASSES, /* on a trellis those of either grid */
    PLT_FAST_COLUMNS = 1 << 16, /* of a trellis that runs down them */
    PLT_FAST_MATCH = 4       /* bytes of the shortest match */
};

enum plt_fast_kind {
    PLT_FAST_STORED,
    PLT_FAST_PLANES,
    PLT_FAST_PALETTE,
    PLT_FAST_KERNELS,
    PLT_FAST_REPEATS,
    PLT_FAST_PRODUCT,
    PLT_FAST_TRELLIS,
    PLT_FAST_TRELLIS_KERNELS
};

/* The planes of repeats, a byte of each for every sequence: how many literals it begins with, the
 * length of the match behind them less PLT_FAST_MATCH - 1 (0: there is none), and how far back that
 * is (0: as far as the match before); then the literals themselves. */
enum {
    PLT_REPEAT_LITERALS,
    PLT_REPEAT_LENGTH,
    PLT_REPEAT_DISTANCE,     /* three planes, lowest byte first */
    PLT_REPEAT_BYTES = 5,
    PLT_REPEAT_PLANES
};

/* How the taps of a kernel tell of each other: a linear prediction from earlier taps, rounded to
 * a few classes, each with a table of its own. */
typedef struct {
    uint32_t taps, stride;   /* a tap's items are `stride` apart */
    uint32_t flip;           /* exclusive-ored to the bytes: 128 for signed ones, else 0 */
    uint32_t centre;         /* the symbol that counts as zero */
    uint32_t shift, reach;
    int8_t weight[PLT_FAST_TAPS][PLT_FAST_BACK];
} plt_fast_kernel;

typedef struct {
    plt_slots slots[PLT_FAST_TABLES];
    plt_fast_kernel kernel;
    uint8_t state[PLT_FAST_COLUMNS]; /* of a trellis (plt_trellis.h), by column */
    uint8_t block[PLT_FAST_BLOCK];
    uint8_t palette[256 * 8];
} plt_fast;

int plt_fast_decode(plt_fast *f, const uint8_t *in, size_t in_size, uint8_t *out, size_t size);

#endif
