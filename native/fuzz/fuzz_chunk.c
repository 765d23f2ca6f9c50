/* Any bytes as the packed bytes of a chunk, past all checksums.
 *
 * The first byte chooses: bits 0-1 the codec, bit 2 whether the output comes in two chunks of which
 * the second continues the first, bit 3 whether there is a base, bits 4-7 whether the output may be
 * long beside the input (all ones), which is slow. Two bytes give its size in units of 4, less a
 * few; the rest is the input.
 *
 * A fresh state is 12 MB. It is made once and mapped privately: dropping the pages that a run has
 * written brings it back, at a cost in proportion to what the run has touched.
 */
#define _GNU_SOURCE
#include "../src/plt_file.c"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static void *area_for(uint32_t codec)
{
    static void *area;
    size_t size = plt_work_size();

    if (!area) {
        int file = memfd_create("state", 0);
        if (file < 0 || ftruncate(file, (off_t)size))
            abort();
        work_area *made = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        plt_state_init(&made->state);
        made->ready = STATE_READY;
        munmap(made, size);
        area = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
        close(file);
    }
    if (codec == PLT_CODEC_MODEL) /* the others begin with nothing left of before */
        madvise(area, size, MADV_DONTNEED);
    return area;
}

/* Decodes from a copy to memory of exactly the sizes, so that the sanitizer sees what is beyond. */
static int decode(const plt_file *file, uint32_t codec, const uint8_t *in, size_t in_size,
                  size_t size, void *area)
{
    uint8_t *copy = malloc(in_size + !in_size), *out = malloc(size);
    memcpy(copy, in, in_size);
    plt_chunk chunk = {
        .packed_size = in_size,
        .size = size,
        .codec = codec,
        .continues = codec == PLT_CODEC_MODEL, /* the fresh state, or what a chunk has left */
        .crc32 = plt_crc32(copy, in_size),
    };
    int problem = plt_decode_chunk(file, &chunk, copy, out, size, area, plt_work_size());
    free(out);
    free(copy);
    return problem;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t codecs[4] = {PLT_CODEC_MODEL, PLT_CODEC_MODEL, PLT_CODEC_LZMA,
                                       PLT_CODEC_FAST};
    static const uint8_t base[4096] = {1, 2, 3};
    plt_file file = {0};

    if (size < 3)
        return 0;
    uint32_t options = data[0], codec = codecs[options & 3];
    size_t out_size = ((size_t)(data[1] | data[2] << 8) + 1) * 4 - (options >> 4 & 3);
    const uint8_t *in = data + 3;
    size -= 3;
    if (options >> 4 != 15 && out_size > 2 * size + 64)
        out_size = 2 * size + 64;
    if (options & 8) {
        file.base = base;
        file.base_size = sizeof base;
    }
    size_t half = options & 4 ? size / 2 : 0, out_half = options & 4 ? out_size / 2 : 0;
    void *area = area_for(codec);
    if (!out_half || !decode(&file, codec, in, half, out_half, area))
        decode(&file, codec, in + half, size - half, out_size - out_half, area);
    return 0;
}
