/* The encoder's side of plt_fast.h: records from planes, symbols with classes, and plain bytes. */
#ifndef PLT_FAST_ENCODE_H
#define PLT_FAST_ENCODE_H

#include "plt_fast.h"

typedef struct {
    uint16_t frequency[PLT_FAST_TABLES][256], start[PLT_FAST_TABLES][256];
} plt_fast_encoder;

/* One record of the fast codec. `planes` holds width * items bytes as planes, or items indices
 * into the palette's palette_size values of `width` bytes. Returns the bytes written to `out`,
 * or 0 if they did not fit. */
size_t plt_fast_encode(plt_fast_encoder *e, uint32_t kind, uint32_t width, size_t items,
                       const uint8_t *planes, const uint8_t *palette, uint32_t palette_size,
                       uint8_t *out, size_t capacity);

/* The tables and the stream of a record of kernels, whose head the caller has written: `classes`
 * holds the class of every item. */
size_t plt_fast_encode_kernels(plt_fast_encoder *e, uint32_t class_count, size_t items,
                               const uint8_t *symbols, const uint8_t *classes, uint8_t *out,
                               size_t capacity);

enum { PLT_INDEX_BITS = 16, PLT_INDEX_PLACES = 1 << 22 };

/* Where in a chunk four bytes stood before; all zeros at first. */
typedef struct {
    uint32_t end;            /* indexed so far */
    uint32_t head[1 << PLT_INDEX_BITS];
    uint32_t before[PLT_INDEX_PLACES];
} plt_index;

/* A record of repeats: raw[from .. to), told from what the index holds and from what lies `likely`
 * bytes before, unless that is 0. `room` holds plt_repeats_room() bytes. */
size_t plt_repeats_room(size_t size);
size_t plt_fast_encode_repeats(plt_fast_encoder *e, plt_index *index, const uint8_t *raw,
                               size_t from, size_t to, size_t likely, uint8_t *room,
                               uint8_t *out, size_t capacity);

/* What the files of the encoder share. */
typedef struct {
    uint8_t *at, *end;
    int failed;
} plt_writer;

void plt_put_bytes(plt_writer *w, const uint8_t *data, size_t size);
void plt_put_byte(plt_writer *w, uint32_t byte);
void plt_put_number(plt_writer *w, uint64_t v);

/* A table that suits `items` symbols of these counts, and what it says of them in `e`. */
void plt_put_table(plt_fast_encoder *e, plt_writer *w, uint32_t class, const size_t *count,
                   size_t items);

void plt_put_plane(plt_fast_encoder *e, plt_writer *w, const uint8_t *data, size_t items);

#endif
