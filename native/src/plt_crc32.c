/* See plt_crc32.h. */
#include "plt_crc32.h"

#include "plt_reader.h"

/* Half a byte at a time: a table of 16 entries. */
static uint32_t crc_step(uint32_t crc, uint8_t byte)
{
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    crc ^= byte;
    crc = crc >> 4 ^ table[crc & 15];
    return crc >> 4 ^ table[crc & 15];
}

/* Eight bytes at a time, for data that is worth making tables of 8 KB (Intel's "slicing"). */
static uint32_t crc_of_many(uint32_t crc, const uint8_t *data, size_t eights)
{
    uint32_t table[8][256];

    for (uint32_t i = 0; i < 256; i++)
        table[0][i] = crc_step(i, 0);
    for (uint32_t i = 0; i < 256; i++)
        for (int k = 1; k < 8; k++)
            table[k][i] = table[k - 1][i] >> 8 ^ table[0][table[k - 1][i] & 255];
    for (; eights > 0; eights--, data += 8) {
        uint32_t low = plt_load32(data) ^ crc, high = plt_load32(data + 4);
        crc = table[7][low & 255] ^ table[6][low >> 8 & 255] ^ table[5][low >> 16 & 255] ^
              table[4][low >> 24] ^ table[3][high & 255] ^ table[2][high >> 8 & 255] ^
              table[1][high >> 16 & 255] ^ table[0][high >> 24];
    }
    return crc;
}

uint32_t plt_crc32(const uint8_t *data, size_t size)
{
    uint32_t crc = 0xffffffffu;
    size_t done = size >= 4096 ? size & ~(size_t)7 : 0;

    if (done)
        crc = crc_of_many(crc, data, done / 8);
    for (; done < size; done++)
        crc = crc_step(crc, data[done]);
    return ~crc;
}
