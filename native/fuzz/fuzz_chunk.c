/* Any bytes as the packed bytes of a chunk, past all checksums.
 *
 * The first byte chooses: bits 0-1 the codec, bit 2 whether the output comes in two chunks of which
 * the second continues the first, bit 3 whether there is a base, bits 4-7 whether the output may be
 * long beside the input (all ones), which is slow. Two bytes give its size in units of 4, less a
 * few; the rest is the input.
 *
 * A fresh state is made once; after a run it is copied back. Built with
 * FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION, it is some hundred KB instead of 12 MB.
 */
#include "../src/plt_file.c"
#include "base.h"

static work_area *area_for(uint32_t codec, const plt_file *file)
{
    static work_area *area;
    static plt_state *fresh;

    if (!area) {
        fresh = malloc(sizeof *fresh);
        plt_state_init(fresh);
        area = area_in(malloc(plt_work_size()));
    }
    if (codec == PLT_CODEC_MODEL) { /* the others begin with nothing left of before */
        memcpy(&area->state, fresh, sizeof *fresh);
        area->state.base = file->base;
        area->state.base_size = file->base_size;
        area->ready = STATE_READY;
    }
    return area;
}

/* Enough to fill the small tables' histories more than once. */
enum { LONG_OUTPUT = 1200 };

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
    plt_file file = {0};

    if (size < 3)
        return 0;
    uint32_t options = data[0], codec = codecs[options & 3];
    size_t out_size = ((size_t)(data[1] | data[2] << 8) + 1) * 4 - (options >> 4 & 3);
    const uint8_t *in = data + 3;
    size -= 3;
    size_t most = options >> 4 == 15 ? LONG_OUTPUT : size / 2 + 32;
    if (out_size > most)
        out_size = most;
    if (options & 8) {
        file.base = base_bytes();
        file.base_size = BASE_SIZE;
    }
    size_t half = options & 4 ? size / 2 : 0, out_half = options & 4 ? out_size / 2 : 0;
    void *area = area_for(codec, &file);
    if (!out_half || !decode(&file, codec, in, half, out_half, area))
        decode(&file, codec, in + half, size - half, out_size - out_half, area);
    return 0;
}
