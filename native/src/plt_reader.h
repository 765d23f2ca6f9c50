/* Reads bytes and numbers from the front of some bytes, and notes when there are too few. */
#ifndef PLT_READER_H
#define PLT_READER_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const uint8_t *at, *end;
    int failed;
} plt_reader;

static inline uint32_t plt_load32(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* The next `count` bytes; null, and nothing is taken, if there are not so many. */
static inline const uint8_t *plt_read_bytes(plt_reader *r, uint64_t count)
{
    const uint8_t *at = r->at;
    if (count > (uint64_t)(r->end - r->at)) {
        r->failed = 1;
        return 0;
    }
    r->at += count;
    return at;
}

static inline uint8_t plt_read_byte(plt_reader *r)
{
    const uint8_t *p = plt_read_bytes(r, 1);
    return p ? *p : 0;
}

static inline uint32_t plt_read_word(plt_reader *r)
{
    const uint8_t *p = plt_read_bytes(r, 4);
    return p ? plt_load32(p) : 0;
}

/* Seven bits a byte, lowest first. There is one way only to write a number: at most 8 bytes, of
 * which the last of several is not 0. */
static inline uint64_t plt_read_number(plt_reader *r)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 56 && r->at < r->end; shift += 7) {
        uint8_t byte = *r->at++;
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) {
            if (!byte && shift)
                break;
            return value;
        }
    }
    r->failed = 1;
    return 0;
}

#endif
