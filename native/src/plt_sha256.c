/* See plt_sha256.h. */
#include "plt_sha256.h"

#include <string.h>

const uint32_t plt_sha256_rounds[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t v, unsigned n)
{
    return v >> n | v << (32 - n);
}

/* One round; the caller renames a..h instead of moving them. */
static inline void turn(uint32_t *v, unsigned i, uint32_t added)
{
    uint32_t a = v[(0 - i) & 7], b = v[(1 - i) & 7], c = v[(2 - i) & 7], e = v[(4 - i) & 7];
    uint32_t f = v[(5 - i) & 7], g = v[(6 - i) & 7], *h = &v[(7 - i) & 7];

    *h += (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + (g ^ (e & (f ^ g))) + added;
    v[(3 - i) & 7] += *h;
    *h += (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) | (c & (a | b)));
}

static void absorb_plainly(uint32_t *state, const uint8_t *data, size_t blocks)
{
    for (; blocks > 0; blocks--, data += 64) {
        uint32_t w[16], v[8];

        memcpy(v, state, sizeof v);
        for (unsigned i = 0; i < 16; i++)
            w[i] = (uint32_t)data[4 * i] << 24 | (uint32_t)data[4 * i + 1] << 16 |
                   (uint32_t)data[4 * i + 2] << 8 | data[4 * i + 3];
        for (unsigned i = 0; i < 64; i += 16) {
            for (unsigned k = 0; k < 16; k++) {
                if (i) {
                    uint32_t a = w[(k + 1) & 15], b = w[(k + 14) & 15];
                    w[k] += (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) + w[(k + 9) & 15] +
                            (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
                }
                turn(v, k, plt_sha256_rounds[i + k] + w[k]);
            }
        }
        for (int i = 0; i < 8; i++)
            state[i] += v[i];
    }
}

static void absorb(uint32_t *state, const uint8_t *data, size_t blocks)
{
    if (!blocks)
        return;
    if (plt_sha256_is_quick())
        plt_sha256_quickly(state, data, blocks);
    else
        absorb_plainly(state, data, blocks);
}

void plt_sha256_init(plt_sha256 *h)
{
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(h->state, start, sizeof start);
    h->length = 0;
}

void plt_sha256_add(plt_sha256 *h, const uint8_t *data, size_t size)
{
    size_t used = (size_t)(h->length & 63), begun = 0;

    h->length += size;
    if (used) {
        begun = 64 - used < size ? 64 - used : size;
        memcpy(h->block + used, data, begun);
        if (used + begun < 64)
            return;
        absorb(h->state, h->block, 1);
    }
    absorb(h->state, data + begun, (size - begun) / 64);
    size_t left = (size - begun) % 64;
    if (left)
        memcpy(h->block, data + (size - left), left);
}

void plt_sha256_finish(plt_sha256 *h, uint8_t digest[32])
{
    static const uint8_t padding[64] = {0x80};
    uint8_t length[8];
    uint64_t bits = h->length * 8;

    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)(bits >> (56 - 8 * i));
    plt_sha256_add(h, padding, 1 + (size_t)((119 - (h->length & 63)) & 63));
    plt_sha256_add(h, length, 8);
    for (int i = 0; i < 32; i++)
        digest[i] = (uint8_t)(h->state[i / 4] >> (24 - 8 * (i % 4)));
}
