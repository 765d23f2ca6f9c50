/* See plt_words.h; docs/format.md, "Words", is the same in words. */
#include "plt_words.h"

#include <string.h>

enum { VTABLE_LIMIT = 64, TABLE_LIMIT = 128, FAR = 32 };

static uint32_t half(const uint8_t *chunk, uint32_t at)
{
    return chunk[at] | (uint32_t)chunk[at + 1] << 8;
}

static void point(plt_words *w, uint32_t at, uint32_t of)
{
    uint32_t slot = plt_spread(at, 50) % PLT_OBJECTS;

    if (w->pointed[slot].at == at + 1) /* offsets come before numbers that look like one */
        return;
    w->pointed[slot].at = at + 1;
    w->pointed[slot].of = of;
}

void plt_words_begin(plt_words *w)
{
    memset(w->pointed, 0, sizeof w->pointed);
    w->object = w->of = 0;
    w->kind = PLT_VECTOR;
    w->at = 1; /* no word */
    point(w, 0, 1);
}

/* Whether what is before `end` may be a vtable: its bytes, those of its table, fields. */
static int is_vtable(const uint8_t *chunk, uint32_t vtable, uint32_t end)
{
    if (vtable >= end || end - vtable < 4 || vtable % 2)
        return 0;
    uint32_t size = half(chunk, vtable), table = half(chunk, vtable + 2);
    return size >= 4 && size < VTABLE_LIMIT && size % 2 == 0 && size <= end - vtable &&
           table >= 4 && table < TABLE_LIMIT;
}

/* The name of the role of the word `place` bytes behind its object's beginning. */
static uint32_t name_of(const plt_words *w, const uint8_t *chunk, uint32_t place)
{
    uint32_t name = w->of;

    if (place == 0)
        return plt_spread(name, 51);
    if (w->kind == PLT_VECTOR)
        return plt_spread(name, place == 4 ? 52 : 53);
    if (w->kind == PLT_TABLE_AHEAD)
        return plt_spread(name + (place < FAR ? place : FAR), w->vtable);
    uint32_t table = half(chunk, w->vtable + 2);
    if (place >= table)
        return plt_spread(name, place - table < 16 ? 54 + (place - table) / 4 : 58);
    for (uint32_t i = 4; i < half(chunk, w->vtable); i += 2) {
        uint32_t field = half(chunk, w->vtable + i);
        if (field >= place && field - place < 4)
            name = plt_spread(name + 2 * i + field - place, 59);
    }
    return name;
}

void plt_words_expect(plt_words *w, const uint8_t *chunk, uint32_t at)
{
    uint32_t slot = plt_spread(at, 50) % PLT_OBJECTS, place = at - w->object;
    int inside = w->kind == PLT_TABLE         ? place < half(chunk, w->vtable + 2)
                 : w->kind == PLT_TABLE_AHEAD ? place < 16
                                              : 0;

    if (w->pointed[slot].at == at + 1 && !inside) {
        w->object = at;
        w->of = w->pointed[slot].of;
        w->kind = PLT_VECTOR;
        place = 0;
    }
    w->at = at;
    w->first = place == 0;
    w->name = name_of(w, chunk, place);
    plt_role *r = plt_words_role(w);
    if (r->name != w->name) {
        memset(r, 0, sizeof *r);
        r->name = w->name;
    }
    w->expected[0] = r->value + r->step;
    w->expected[1] = w->first ? at - r->target[0] : r->target[0] - at;
    w->expected[2] = w->first ? at - r->target[1] : r->value;
}

void plt_words_learn(plt_words *w, const uint8_t *chunk, uint32_t word)
{
    plt_role *r = plt_words_role(w);

    for (int i = 0; i < PLT_EXPECTED; i++)
        r->hits[i] = (uint8_t)((r->hits[i] << 1 | (w->expected[i] == word)) & 15);
    r->step = word - r->value;
    r->value = word;
    if (!w->first) {
        uint32_t to = w->at + word;
        r->target[0] = to;
        if (word >= 4 && word < 1u << 28 && to % 4 == 0)
            point(w, to, plt_spread(w->name, 60));
        return;
    }
    w->vtable = w->at - word;
    if (w->vtable != r->target[0]) {
        r->target[1] = r->target[0];
        r->target[0] = w->vtable;
    }
    w->kind = is_vtable(chunk, w->vtable, w->at) ? PLT_TABLE
              : word >> 31                       ? PLT_TABLE_AHEAD
                                                 : PLT_VECTOR;
}
