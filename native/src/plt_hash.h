/* CRC-32 (the one of zip and PNG) and SHA-256 (FIPS 180-4). */
#ifndef PLT_HASH_H
#define PLT_HASH_H

#include "packlight.h"

uint32_t plt_crc32(const uint8_t *data, size_t size);

typedef plt_check plt_sha256;

void plt_sha256_init(plt_sha256 *h);
void plt_sha256_add(plt_sha256 *h, const uint8_t *data, size_t size);
void plt_sha256_finish(plt_sha256 *h, uint8_t digest[32]);

#endif
