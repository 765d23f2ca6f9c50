/* The fast codec: bytes of a tensor in planes, each with one static table and interleaved rANS.
 *
 * Asymmetric numeral systems are due to J. Duda (arXiv:1311.2540), the interleaving of several
 * states in one stream to F. Giesen (arXiv:1402.3392). Four states take turns; each is a 32-bit
 * number of at least 2^16 that is refilled by 16 bits.
 */
#ifndef PLT_FAST_H
#define PLT_FAST_H

#include <stddef.h>
#include <stdint.h>

enum {
    PLT_FAST_BITS = 12,
    PLT_FAST_BLOCK = 1 << 14,
    PLT_FAST_TAPS = 25,      /* of a kernel at most */
    PLT_FAST_BACK = 8,       /* earlier taps that a tap is predicted from */
    PLT_FAST_REACH = 8,      /* classes of predictions on either side of zero */
    PLT_FAST_CLASSES = 2 * PLT_FAST_REACH + 1
};

enum plt_fast_kind { PLT_FAST_STORED, PLT_FAST_PLANES, PLT_FAST_PALETTE, PLT_FAST_KERNELS };

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
    uint32_t slot[1 << PLT_FAST_BITS]; /* symbol, its frequency << 8, distance into it << 20 */
    uint32_t slots[PLT_FAST_CLASSES][1 << PLT_FAST_BITS];
    plt_fast_kernel kernel;
    uint16_t frequency[PLT_FAST_CLASSES][256], start[PLT_FAST_CLASSES][256];
    uint8_t block[PLT_FAST_BLOCK];
    uint8_t palette[256 * 8];
} plt_fast;

int plt_fast_decode(plt_fast *f, const uint8_t *in, size_t in_size, uint8_t *out, size_t size);

/* One record of the fast codec. `planes` holds width * items bytes as planes, or items indices
 * into the palette's palette_size values of `width` bytes. Returns the bytes written to `out`,
 * or 0 if they did not fit. */
size_t plt_fast_encode(plt_fast *f, uint32_t kind, uint32_t width, size_t items,
                       const uint8_t *planes, const uint8_t *palette, uint32_t palette_size,
                       uint8_t *out, size_t capacity);

/* The tables and the stream of a record of kernels, whose head the caller has written: `classes`
 * holds the class of every item. */
size_t plt_fast_encode_kernels(plt_fast *f, uint32_t class_count, size_t items,
                               const uint8_t *symbols, const uint8_t *classes, uint8_t *out,
                               size_t capacity);

#endif
