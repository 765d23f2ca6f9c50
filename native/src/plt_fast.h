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

enum { PLT_FAST_BITS = 12, PLT_FAST_BLOCK = 1 << 14 };

enum plt_fast_kind { PLT_FAST_STORED, PLT_FAST_PLANES, PLT_FAST_PALETTE };

typedef struct {
    uint32_t slot[1 << PLT_FAST_BITS]; /* symbol, its frequency << 8, distance into it << 20 */
    uint16_t frequency[256], start[256];
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

#endif
