/* SHA-256 (FIPS 180-4). */
#ifndef PLT_SHA256_H
#define PLT_SHA256_H

#include "packlight.h"

typedef plt_check plt_sha256;

void plt_sha256_init(plt_sha256 *h);
void plt_sha256_add(plt_sha256 *h, const uint8_t *data, size_t size);
void plt_sha256_finish(plt_sha256 *h, uint8_t digest[32]);

extern const uint32_t plt_sha256_rounds[64];

/* Whether this processor has instructions for it, and `blocks` of 64 bytes through those; see
 * plt_sha256_quick.c. */
int plt_sha256_is_quick(void);
void plt_sha256_quickly(uint32_t *state, const uint8_t *data, size_t blocks);

#endif
