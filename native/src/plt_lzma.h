/* Decodes one raw LZMA stream (Igor Pavlov's LZMA specification, 2013, public domain). */
#ifndef PLT_LZMA_H
#define PLT_LZMA_H

#include <stddef.h>
#include <stdint.h>

enum { PLT_LZMA_STATES = 12, PLT_LZMA_CONTEXT_BITS = 4 };

typedef struct {
    uint16_t choice[2], low[16][8], mid[16][8], high[256];
} plt_lzma_length;

typedef struct {
    uint16_t is_match[PLT_LZMA_STATES][16];
    uint16_t is_rep[PLT_LZMA_STATES], is_rep_far[3][PLT_LZMA_STATES];
    uint16_t is_short_rep_off[PLT_LZMA_STATES][16];
    uint16_t slot[4][64], special[128], align[16];
    plt_lzma_length match, rep;
    uint16_t literal[0x300 << PLT_LZMA_CONTEXT_BITS];
    uint32_t range, code;
    const uint8_t *in;
    size_t position, size;
} plt_lzma;

/* `properties` is (pb * 5 + lp) * 9 + lc with lc + lp <= 4. Writes exactly `size` bytes to `out`,
 * or returns -1. */
int plt_lzma_decode(plt_lzma *z, uint8_t properties, const uint8_t *in, size_t in_size,
                    uint8_t *out, size_t size);

#endif
