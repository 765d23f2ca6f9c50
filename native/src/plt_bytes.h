/* The byte model: for graphs, names, tables and whatever else is no tensor.
 *
 * Every bit is predicted by counters under contexts of the last 1 to 6 bytes, under sparse contexts
 * that suit records of 4-byte fields, by the byte that followed the longest recent match, and by what
 * offsets tell of the word at hand (plt_words.h). The
 * design follows lpaq (M. Mahoney), with an own table layout: one cache line of 16 counters holds
 * the 15 decisions of half a byte under one context and, in place 0, a check of that context.
 */
#ifndef PLT_BYTES_H
#define PLT_BYTES_H

#include "plt_logistic.h"
#include "plt_range.h"
#include "plt_words.h"

enum {
    PLT_BYTE_CONTEXTS = 10,
    PLT_BYTE_INPUTS = 16,
    PLT_BYTE_SETS = 64,      /* of weights, at most */
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION /* see plt_tensor.h */
    PLT_BYTE_LINES = 1 << 5,
    PLT_BYTE_HISTORY = 1 << 9,
    PLT_BYTE_MATCHES = 1 << 6
#else
    PLT_BYTE_LINES = 1 << 16,
    PLT_BYTE_HISTORY = 1 << 20,
    PLT_BYTE_MATCHES = 1 << 16
#endif
};

typedef struct {
    uint32_t position;                  /* bytes coded so far, the primer included */
    uint32_t primed;
    uint32_t match, match_length;       /* where the predicted byte is, and how far it held */
    uint32_t hash[PLT_BYTE_CONTEXTS];
    plt_counter *line[PLT_BYTE_CONTEXTS];
    int16_t weight[2][PLT_BYTE_SETS][PLT_BYTE_INPUTS];
    plt_counter order0[4 * 256];
    plt_counter matched[64 * 2];
    plt_counter hit[PLT_EXPECTED][2 * 16][8]; /* whether a guess at a word is right again */
    plt_words words;
    plt_counter refine[1024 * 33];
    uint32_t recent[PLT_BYTE_MATCHES];
    uint8_t history[PLT_BYTE_HISTORY];
    plt_counter counter[PLT_BYTE_LINES * 16];
} plt_bytes;

void plt_bytes_init(plt_bytes *b, const plt_tables *t);

/* Codes the byte at `at` of a chunk, of which everything before is known. At 0 a new chunk begins. */
uint8_t plt_bytes_code(plt_bytes *b, const plt_tables *t, plt_range *rc, const uint8_t *chunk,
                       uint32_t at, uint8_t byte);

#endif
