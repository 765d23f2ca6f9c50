/* The base that the fuzzers give to differences; tests/native/samples.py knows the same bytes. */
#ifndef PLT_FUZZ_BASE_H
#define PLT_FUZZ_BASE_H

#include <stdint.h>
#include <stdlib.h>

enum { BASE_SIZE = 1024 };

/* In memory of exactly its size, so that the address sanitizer sees a read beyond it. */
static const uint8_t *base_bytes(void)
{
    static uint8_t *base;

    if (!base) {
        uint32_t x = 1;
        base = malloc(BASE_SIZE);
        for (size_t i = 0; i < BASE_SIZE; i++) {
            x = x * 1664525u + 1013904223u;
            base[i] = (uint8_t)(x >> 24);
        }
    }
    return base;
}

#endif
