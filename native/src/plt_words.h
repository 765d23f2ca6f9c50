/* Words of four bytes, as flatbuffers (TFLite, ExecuTorch, ORT) hold them: what is next, told from
 * where offsets point.
 *
 * Every word may be an offset to an object further on, which is a table or a vector. An object's
 * first word is remembered with the role of the word that points to it; a table's first word leads
 * back to its vtable, which says which field is where. So every word has a role: a hash of the path
 * of fields from the root to it, without any schema. Words of one role are alike.
 */
#ifndef PLT_WORDS_H
#define PLT_WORDS_H

#include <stdint.h>

enum {
    PLT_EXPECTED = 3,        /* guesses at a word */
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION /* see plt_tensor.h */
    PLT_ROLES = 1 << 4,
    PLT_OBJECTS = 1 << 4
#else
    PLT_ROLES = 1 << 10,     /* roles that are remembered */
    PLT_OBJECTS = 1 << 13    /* objects pointed to that are remembered */
#endif
};

typedef struct {
    uint32_t name;
    uint32_t value, step;    /* the last word, and what it was more than the one before */
    uint32_t target[2];      /* where the last words led to; of first words, the last two vtables */
    uint8_t hits[PLT_EXPECTED]; /* which of the last four guesses were right, the last lowest */
} plt_role;

typedef struct {
    uint32_t at;             /* of the word; place in the chunk */
    uint32_t name;           /* of its role */
    uint32_t first;          /* it is an object's first */
    uint32_t expected[PLT_EXPECTED];
    uint32_t object, of;     /* where the object begins, and the name of the pointing word's role */
    uint32_t vtable;         /* where it is */
    enum { PLT_VECTOR, PLT_TABLE, PLT_TABLE_AHEAD } kind; /* ahead: the vtable has not come yet */
    struct {
        uint32_t at, of;     /* place + 1; 0: nothing */
    } pointed[PLT_OBJECTS];
    plt_role roles[PLT_ROLES];
} plt_words;

static inline uint32_t plt_spread(uint32_t v, uint32_t salt)
{
    v = (v + salt * 0x9e3779b9u) * 0x2c1b3c6du;
    v = (v ^ v >> 15) * 0x297a2d39u;
    return v ^ v >> 16;
}

/* The role of the word at hand. */
static inline plt_role *plt_words_role(plt_words *w)
{
    return &w->roles[w->name % PLT_ROLES];
}

/* Forgets all places, as a new chunk has others. */
void plt_words_begin(plt_words *w);

/* Sets what is expected of the word at `at` of the chunk, before which everything is known. */
void plt_words_expect(plt_words *w, const uint8_t *chunk, uint32_t at);

/* Learns that word. */
void plt_words_learn(plt_words *w, const uint8_t *chunk, uint32_t word);

#endif
