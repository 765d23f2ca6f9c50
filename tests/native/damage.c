/* damage FILE RAW [STEP [BASE]]: FILE unpacks to RAW; nothing of a damaged form of it is.
 *
 * Tries every prefix of FILE, every single-bit flip, every byte added at the end, and every range
 * of bytes by plt_read(); with STEP only every STEP-th of each; of BASE, every prefix and flip too.
 * Writes how many were tried. Every input lies in memory of exactly its size, so that valgrind and
 * sanitizers see what reads beyond.
 */
#include "packlight.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { UNTOUCHED = 0x5a };

static uint8_t *load(const char *name, size_t *size)
{
    FILE *in = fopen(name, "rb");
    uint8_t *data = malloc(1 << 20);
    *size = in ? fread(data, 1, 1 << 20, in) : 0;
    if (!in || fclose(in))
        exit(2);
    return realloc(data, *size + !*size);
}

static void fail(const char *what, size_t where)
{
    printf("%s at %zu\n", what, where);
    exit(1);
}

/* What the file is a difference to, if it is one. */
static uint8_t *base;
static size_t base_size;

/* Unpacks a copy of `data` in memory of its own. */
static int unpack(const uint8_t *data, size_t size, uint8_t *out, size_t out_size, void *work)
{
    plt_file file;
    uint8_t *copy = malloc(size + !size);
    memcpy(copy, data, size);
    int problem = plt_open(&file, copy, size);
    if (!problem && file.size > out_size)
        problem = PLT_TOO_SMALL;
    if (!problem && base)
        problem = plt_set_base(&file, base, base_size);
    if (!problem)
        problem = plt_unpack(&file, out, (size_t)file.size, work, plt_work_size());
    free(copy);
    return problem;
}

static size_t read_ranges(const plt_file *file, const uint8_t *raw, void *work, size_t step)
{
    size_t size = (size_t)file->size, largest = (size_t)file->largest_chunk, tried = 0;
    size_t stride = (size / 7 + 1) * step;
    uint8_t *scratch = malloc(largest + 1);

    for (size_t from = 0; from <= size; from += stride)
        for (size_t to = from; to <= size; to += stride, tried++) {
            uint8_t *part = malloc(to - from + 1);
            if (plt_read(file, from, part, to - from, scratch, largest, work, plt_work_size()) ||
                memcmp(part, raw + from, to - from))
                fail("a part was not read right", from);
            free(part);
        }
    free(scratch);
    return tried;
}

/* Another base, or none, is an error: PLT_NEEDS_BASE. */
static size_t try_bases(const plt_file *opened, uint8_t *out, void *work, size_t step)
{
    size_t tried = 0;
    plt_file file = *opened;

    if (plt_unpack(&file, out, (size_t)file.size, work, plt_work_size()) != PLT_NEEDS_BASE)
        fail("the lack of a base was not seen", 0);
    for (size_t cut = 0; cut < base_size; cut += step, tried++)
        if (plt_set_base(&file, base, cut) != PLT_NEEDS_BASE || file.base)
            fail("a cut base was not seen", cut);
    for (size_t bit = 0; bit < base_size * 8; bit += step, tried++) {
        base[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (plt_set_base(&file, base, base_size) != PLT_NEEDS_BASE || file.base)
            fail("a changed base was not seen", bit);
        base[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    return tried;
}

int main(int count, char **words)
{
    size_t size, raw_size, tried = 0, step = count > 3 ? (size_t)atoi(words[3]) : 1;
    if (count < 3)
        return 2;
    uint8_t *data = load(words[1], &size), *raw = load(words[2], &raw_size);
    uint8_t *out = malloc(raw_size + 1);
    void *work = malloc(plt_work_size());
    plt_file file;

    if (count > 4)
        base = load(words[4], &base_size);
    if (unpack(data, size, out, raw_size, work) || memcmp(out, raw, raw_size))
        fail("the file did not unpack", 0);
    memset(out, UNTOUCHED, raw_size);
    for (size_t cut = 0; cut < size; cut += step, tried++)
        if (!unpack(data, cut, out, raw_size, work))
            fail("a cut was not seen", cut);
    for (size_t bit = 0; bit < size * 8; bit += step, tried++) {
        data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (!unpack(data, size, out, raw_size, work))
            fail("a changed bit was not seen", bit);
        data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t i = 0; i < raw_size; i++)
        if (out[i] != UNTOUCHED)
            fail("of a damaged file something was decoded", i);
    data = realloc(data, size + 1);
    data[size] = 0;
    if (!unpack(data, size + 1, out, raw_size, work))
        fail("a byte too many was not seen", size);
    if (plt_open(&file, data, size))
        fail("the file did not open", 0);
    if (base) {
        tried += try_bases(&file, out, work, step);
        if (plt_set_base(&file, base, base_size))
            fail("the base was not taken", 0);
    } else if (plt_set_base(&file, data, size) != PLT_BAD_ARGUMENT) {
        fail("a base was taken that is not needed", 0);
    }
    tried += read_ranges(&file, raw, work, step);
    printf("%zu\n", tried);
    free(base);
    free(work);
    free(out);
    free(raw);
    free(data);
    return 0;
}
