/* See plt_bytes.h. */
#include "plt_bytes.h"

#include "plt_primer.h"

#include <string.h>

enum {
    MIN_MATCH = 5,
    MAX_MATCH = 63,
    FIRST_WEIGHT = PLT_ONE / 6,
    GUESS_WEIGHT = 10000
};

void plt_bytes_init(plt_bytes *b, const plt_tables *t)
{
    memset(b, 0, sizeof *b);
    for (size_t i = 0; i < PLT_BYTE_LINES * 16; i++)
        b->counter[i] = i % 16 ? PLT_COUNTER_NEW : 0;
    for (size_t s = 0; s < 2; s++)
        for (size_t i = 0; i < PLT_BYTE_SETS; i++)
            for (size_t j = 0; j < PLT_BYTE_INPUTS; j++)
                b->weight[s][i][j] = j >= PLT_BYTE_CONTEXTS && j < PLT_BYTE_CONTEXTS + PLT_EXPECTED
                                         ? GUESS_WEIGHT
                                         : FIRST_WEIGHT;
    for (size_t i = 0; i < PLT_EXPECTED; i++)
        for (size_t j = 0; j < 2 * 16; j++)
            for (size_t k = 0; k < 8; k++)
                b->hit[i][j][k] = PLT_COUNTER_NEW;
    for (size_t i = 0; i < 4 * 256; i++)
        b->order0[i] = PLT_COUNTER_NEW;
    for (uint32_t i = 0; i < 64 * 2; i++)
        b->matched[i] = (65535u - 65536u / (i / 2 + 2)) << 16;
    for (size_t i = 0; i < 1024; i++)
        for (int k = 0; k < 33; k++)
            b->refine[i * 33 + (size_t)k] =
                (plt_counter)plt_squash(t, plt_within((k - 16) * 128, PLT_STRETCH_LIMIT)) << 16;
}

static uint8_t back(const plt_bytes *b, uint32_t distance)
{
    return b->history[(b->position - distance) & (PLT_BYTE_HISTORY - 1)];
}

/* The line of counters for `hash`: the one that has its check, or the less used of two, emptied. */
static plt_counter *find_line(plt_bytes *b, uint32_t hash)
{
    uint32_t check = hash | 1;
    size_t first = hash >> 4 & (PLT_BYTE_LINES - 1);
    plt_counter *one = &b->counter[first * 16], *two = &b->counter[(first ^ 1) * 16];

    if (one[0] == check)
        return one;
    if (two[0] == check)
        return two;
    if ((two[1] & 1023) < (one[1] & 1023)) {
        one[1] -= (one[1] & 1023) > 0;
        one = two;
    } else {
        two[1] -= (two[1] & 1023) > 0;
    }
    one[0] = check;
    for (int i = 1; i < 16; i++)
        one[i] = PLT_COUNTER_NEW;
    return one;
}

static void choose_contexts(plt_bytes *b, uint32_t column, uint32_t begun)
{
    uint32_t c1 = back(b, 1), c2 = back(b, 2), c3 = back(b, 3), c4 = back(b, 4);
    uint32_t last4 = c1 | c2 << 8 | c3 << 16 | c4 << 24;
    uint32_t c5 = back(b, 5), c8 = back(b, 8), c12 = back(b, 12);
    uint32_t last6 = plt_spread(last4, 77) + (c5 | (uint32_t)back(b, 6) << 8);

    b->hash[0] = plt_spread(c1, 1);
    b->hash[1] = plt_spread(last4 & 0xffff, 2);
    b->hash[2] = plt_spread(last4 & 0xffffff, 3);
    b->hash[3] = plt_spread(last6, 4);
    b->hash[4] = plt_spread(c4 | column << 8, 5);
    b->hash[5] = plt_spread(c4 | c8 << 8 | column << 24, 6);
    b->hash[6] = plt_spread(c4 | c8 << 8 | c12 << 16 | (uint32_t)back(b, 16) << 24, 7);
    b->hash[7] = plt_spread(c2 | c3 << 8 | column << 24, 8);
    b->hash[8] = plt_spread(c8 | column << 8 | c1 << 16, 9);
    b->hash[9] = plt_spread(plt_spread(b->words.name, 80 + column) + begun, 10);
}

static void find_match(plt_bytes *b)
{
    uint32_t key = 0;
    if (b->match_length && b->history[b->match & (PLT_BYTE_HISTORY - 1)] == back(b, 1)) {
        b->match_length += b->match_length < MAX_MATCH;
        b->match++;
    } else {
        b->match_length = 0;
    }
    if (b->position < MIN_MATCH)
        return;
    for (uint32_t i = 1; i <= MIN_MATCH; i++)
        key = key * 0x2f0b4c47u + back(b, i) + 1;
    uint32_t *slot = &b->recent[key >> 16 & (PLT_BYTE_MATCHES - 1)];
    if (!b->match_length && *slot && b->position - *slot < PLT_BYTE_HISTORY - 256) {
        uint32_t n = 0;
        while (n < 32 && n < *slot &&
               b->history[(*slot - 1 - n) & (PLT_BYTE_HISTORY - 1)] == back(b, n + 1))
            n++;
        if (n >= 4) {
            b->match = *slot;
            b->match_length = n;
        }
    }
    *slot = b->position;
}

static uint8_t code(plt_bytes *b, const plt_tables *t, plt_range *rc, const uint8_t *chunk,
                    uint32_t at, uint8_t byte)
{
    int16_t x[PLT_BYTE_INPUTS];
    uint32_t got = 1, column = at & 3, begun = 0, expected = 0, guess[PLT_EXPECTED] = {0};
    plt_words *words = &b->words;

    if (column == 0)
        plt_words_expect(words, chunk, at);
    for (uint32_t i = 0; i < column; i++)
        begun |= (uint32_t)chunk[at - column + i] << 8 * i;
    int whole = words->at == at - column; /* the word did not begin as a tensor */
    for (int i = 0; i < PLT_EXPECTED; i++)
        if (whole && ((words->expected[i] ^ begun) & ((1u << 8 * column) - 1)) == 0)
            guess[i] = 256u | (words->expected[i] >> 8 * column & 255);
    const uint8_t *hits = plt_words_role(words)->hits;
    choose_contexts(b, column, begun);
    if (b->position)
        find_match(b);
    if (b->match_length)
        expected = 256u | b->history[b->match & (PLT_BYTE_HISTORY - 1)];
    for (int left = 7; left >= 0; left--) {
        uint32_t half = left == 3 ? got * 0x1000193u : 0;
        if (left == 7 || left == 3)
            for (int i = 0; i < PLT_BYTE_CONTEXTS; i++)
                b->line[i] = find_line(b, plt_spread(b->hash[i] + half, 13));
        uint32_t node = left >= 4 ? got : (got & ((1u << (3 - left)) - 1)) | 1u << (3 - left);
        uint32_t order = 0;
        for (int i = 0; i < PLT_BYTE_CONTEXTS; i++) {
            plt_counter c = b->line[i][node];
            x[i] = (int16_t)plt_stretch(t, plt_counter_p16(c));
            order += i < 4 && (c & 1023) > 0;
        }
        plt_counter *zero = &b->order0[column * 256 + got];
        plt_counter *hit[PLT_EXPECTED] = {0};
        uint32_t sure = 0;
        for (int i = 0; i < PLT_EXPECTED; i++) {
            x[PLT_BYTE_CONTEXTS + i] = 0;
            if (guess[i] >> (left + 1) != got)
                continue;
            hit[i] = &b->hit[i][words->first * 16 + hits[i]][column * 2 + (left == 7)];
            int s = plt_stretch(t, plt_counter_p16(*hit[i]));
            x[PLT_BYTE_CONTEXTS + i] = (int16_t)(guess[i] >> left & 1 ? s : -s);
            sure |= (hits[i] & 1u) << i;
        }
        x[13] = (int16_t)plt_stretch(t, plt_counter_p16(*zero));
        plt_counter *matched = 0;
        uint32_t predicted = 0;
        x[14] = 0;
        if (expected >> (left + 1) == got) {
            predicted = expected >> left & 1;
            matched = &b->matched[b->match_length * 2 + (left == 7)];
            int s = plt_stretch(t, plt_counter_p16(*matched));
            x[14] = (int16_t)(predicted ? s : -s);
        }
        x[15] = 256;
        uint32_t length = !matched ? 0 : b->match_length < 8 ? 1 : b->match_length < 24 ? 2 : 3;
        int16_t *w0 = b->weight[0][(length * 5 + order) * 2 + words->first];
        int16_t *w1 = b->weight[1][sure * 4 + column];
        plt_eight first = plt_eight_load(x), second = plt_eight_load(x + 8);
        plt_sums sums = plt_mix_add(plt_mix_add(plt_sums_begin(), first, w0), second, w0 + 8);
        int s = plt_mixed(plt_mix_add(plt_mix_add(sums, first, w1), second, w1 + 8));
        uint32_t mixed = plt_squash(t, s);
        uint32_t spot = (uint32_t)(s + 2048), part = spot & 127;
        plt_counter *r = &b->refine[(got + 256 * column) * 33 + (spot >> 7)];
        uint32_t refined = ((r[0] >> 16) * (128 - part) + (r[1] >> 16) * part) >> 7;
        uint32_t p1 = (mixed + refined) >> 1;

        p1 = p1 < 16 ? 16 : p1 > 65520 ? 65520 : p1;
        int bit = plt_bit(rc, byte >> left & 1, p1);
        first = plt_mix_step(first, mixed, bit);
        second = plt_mix_step(second, mixed, bit);
        plt_mix_learn(w0, first);
        plt_mix_learn(w0 + 8, second);
        plt_mix_learn(w1, first);
        plt_mix_learn(w1 + 8, second);
        for (int i = 0; i < PLT_BYTE_CONTEXTS; i++)
            plt_counter_update(t, &b->line[i][node], bit, 255);
        plt_counter_update(t, zero, bit, 255);
        plt_counter_update(t, &r[part >> 6], bit, 255);
        for (int i = 0; i < PLT_EXPECTED; i++)
            if (hit[i])
                plt_counter_update(t, hit[i], (uint32_t)bit == (guess[i] >> left & 1), 255);
        if (matched)
            plt_counter_update(t, matched, (uint32_t)bit == predicted, 1000);
        got = got * 2 + (uint32_t)bit;
    }
    byte = (uint8_t)got;
    b->history[b->position & (PLT_BYTE_HISTORY - 1)] = byte;
    b->position++;
    if (column == 3 && whole)
        plt_words_learn(words, chunk, begun | (uint32_t)byte << 24);
    return byte;
}

uint8_t plt_bytes_code(plt_bytes *b, const plt_tables *t, plt_range *rc, const uint8_t *chunk,
                       uint32_t at, uint8_t byte)
{
#ifndef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
    if (!b->primed) {
        plt_range none;
        plt_range_measure(&none);
        const uint8_t *piece = plt_primer;
        for (size_t i = 0; i < PLT_PRIMER_PIECES; piece += plt_primer_piece[i++]) {
            plt_words_begin(&b->words);
            for (uint32_t j = 0; j < plt_primer_piece[i]; j++)
                code(b, t, &none, piece, j, piece[j]);
        }
        plt_words_begin(&b->words);
        b->primed = 1;
    }
#endif
    return code(b, t, rc, chunk, at, byte);
}
