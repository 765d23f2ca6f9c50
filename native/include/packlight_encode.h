/* The encoder's side of packlight.h: chunks from plans. Used by the Python package; an app that
 * only unpacks does not need it.
 *
 * A modelled chunk is made from a plan, an array of segments in file order that covers all of the
 * raw bytes. Every segment is PLT_PLAN_FIELDS numbers:
 *
 *     kind, length, distance, factor, width, big-endian, rows, channels, taps, tap width,
 *     channels last, centre, lowest, highest, float format, largest exponent, zero bits,
 *     model bits, palette size, palette zero, 1 + place in the base, distance to weights,
 *     smallest, along the rows
 *
 * of which each kind uses those that docs/format.md lists for it.
 */
#ifndef PACKLIGHT_ENCODE_H
#define PACKLIGHT_ENCODE_H

#include "packlight.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { PLT_PLAN_FIELDS = 24 };

/* Packs raw[0 .. size) by `plan`. `palettes` holds the values of all palettes, sorted, one after
 * the other. `base` is the file that the result is a difference to, or null. With `continues`,
 * `work` must be as the packing of the chunk before left it. When
 * `out` is null the packed size is only counted. Returns the packed size, or 0 if the plan makes
 * no sense or `capacity` is too small. */
size_t plt_pack_chunk(const void *raw, size_t size, const int32_t *plan, size_t segments,
                      const uint32_t *palettes, size_t palette_values, int continues,
                      const void *base, size_t base_size, void *out, size_t capacity, void *work,
                      size_t work_size);

#ifdef __cplusplus
}
#endif

#endif
