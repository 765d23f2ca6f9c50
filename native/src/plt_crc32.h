/* CRC-32, the one of zip and PNG. */
#ifndef PLT_CRC32_H
#define PLT_CRC32_H

#include <stddef.h>
#include <stdint.h>

uint32_t plt_crc32(const uint8_t *data, size_t size);

#endif
