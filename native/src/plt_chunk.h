/* A modelled chunk: a run of segments, each coded by the model that suits it, in one bit stream. */
#ifndef PLT_CHUNK_H
#define PLT_CHUNK_H

#include "plt_bytes.h"
#include "plt_fourier.h"
#include "plt_tensor.h"

#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION /* see plt_tensor.h */
enum { PLT_PALETTE_LIMIT = 64 };
#else
enum { PLT_PALETTE_LIMIT = 8192 };
#endif

enum { PLT_NUMBERS = 28, PLT_FLAGS = 5, PLT_TRELLIS_LIMIT = 1 << 13 };

enum plt_segment_kind {
    PLT_BYTES,
    PLT_INTEGERS,
    PLT_FLOATS,
    PLT_PALETTE,
    PLT_COPY,
    PLT_PRODUCT,
    PLT_FOURIER,
    PLT_BASE_COPY,
    PLT_CHANGES,
    PLT_LIMITS,
    PLT_TRELLIS,
    PLT_SEGMENT_KINDS
};

enum plt_float_format { PLT_FP32, PLT_FP16, PLT_BF16, PLT_FLOAT_FORMATS };

/* What one segment is. The encoder is given them; the decoder reads them from the stream. */
typedef struct {
    uint32_t kind;
    uint32_t length;         /* bytes, for kinds without a shape */
    uint32_t distance;       /* bytes back to the source: copied bytes, fp32 factors, and where the
                                old tensor lies in this chunk, if it does */
    uint32_t reference;      /* 1 + where the old tensor or bytes begin in the base; 0: none */
    uint32_t factor;         /* PLT_PRODUCT: fp32 bits of what the source is multiplied by */
    uint32_t weights;        /* PLT_LIMITS: bytes back to the rows of int8 that are searched */
    uint32_t lowest;         /* PLT_LIMITS: their smallest numbers are meant, not their largest */
    uint32_t width;          /* bytes of an item: 1, 2, 4 */
    uint32_t big_endian;
    plt_shape shape;
    int32_t centre;          /* PLT_INTEGERS: the value that is coded as zero */
    plt_integer range;
    uint32_t along;          /* PLT_TRELLIS: it runs along the rows, not down the columns */
    uint32_t format;         /* PLT_FLOATS: enum plt_float_format */
    plt_float layout;
    uint32_t palette_size, palette_zero;
} plt_segment;

typedef struct {
    plt_model model;
    plt_bytes bytes;
    plt_counter number[PLT_NUMBERS][96];
    plt_counter flag[PLT_FLAGS];
    uint32_t exact;          /* the last expected number was the right one */
    plt_fourier fourier;
    plt_segment open;        /* the tensor that the end of a chunk cut, or the one at hand */
    plt_segment limits;      /* the last ones, their distances told from the chunk's beginning */
    uint32_t left;           /* its items that are still to come */
    uint32_t palette[PLT_PALETTE_LIMIT];
    const uint8_t *base;     /* the file that this one is a difference to, or null */
    size_t base_size;
    uint32_t base_at;        /* behind what was used of it last */
} plt_state;

void plt_state_init(plt_state *s);

/* Where the state lies in the caller's work memory. */
plt_state *plt_state_in(void *work);

/* Codes one segment, or what is left of the tensor at hand, that begins at raw[at] in a chunk of
 * `size` bytes; sets `part` to its bytes. When decoding, `plan` must be all zeros and raw[] is
 * written; otherwise raw[] is only read, and the palette, if any, is taken from `palette`.
 * Returns 0, or -1 if what was read makes no sense. */
int plt_segment_code(plt_state *s, plt_range *rc, uint8_t *raw, size_t at, size_t size,
                     const plt_segment *plan, const uint32_t *palette, size_t *part);

#endif
