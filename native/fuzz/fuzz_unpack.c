/* Any bytes as a container: opened, walked, unpacked and read in part.
 *
 * The header's checksum is made right first, and the chunks' before they are decoded one by one;
 * otherwise hardly an input would get past them.
 */
#include "packlight.h"

#include "base.h"
#include "plt_crc32.h"

#include <string.h>

enum { OUTPUT_LIMIT = 1 << 20 };

/* In memory of exactly its size, so that the address sanitizer sees a read beyond it. */
static uint8_t *copy_of(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size + !size);
    memcpy(copy, data, size);
    size_t header = plt_header_size(copy, size);
    if (header >= 14 && header <= size) {
        uint32_t crc = plt_crc32(copy, header - 4);
        for (int i = 0; i < 4; i++)
            copy[header - 4 + (size_t)i] = (uint8_t)(crc >> 8 * i);
    }
    return copy;
}

static void walk_members(const plt_file *file)
{
    uint64_t end = 0;
    plt_member m = {0}, same;
    while (m.number < file->members) {
        if (plt_next_member(file, &m) || m.offset != end || !m.name_size)
            abort();
        end += m.size;
        if (memchr(m.name, 0, m.name_size) || end > file->size)
            abort();
    }
    if (m.number && (plt_get_member(file, m.number - 1, &same) || same.offset != m.offset))
        abort();
}

static void decode_chunks(const plt_file *file, void *work)
{
    plt_chunk c = {0};
    while (c.number < file->chunks) {
        if (plt_next_chunk(file, &c))
            abort();
        if (c.offset + c.size > file->size || c.packed_offset + c.packed_size > file->packed_size)
            abort();
        if (c.size > OUTPUT_LIMIT || file->data_size != file->packed_size)
            return;
        uint8_t *out = malloc((size_t)c.size);
        c.crc32 = plt_crc32(file->data + c.packed_offset, (size_t)c.packed_size);
        int problem = plt_decode_chunk(file, &c, file->data + c.packed_offset, out, (size_t)c.size,
                                       work, plt_work_size());
        free(out);
        if (problem)
            return;
    }
}

static void unpack(const plt_file *file, void *work)
{
    size_t size = (size_t)file->size, largest = (size_t)file->largest_chunk;
    uint8_t *out = malloc(size + !size), *scratch = malloc(largest + !largest);
    size_t from = size / 3, part = size / 4;

    int problem = plt_unpack(file, out, size, work, plt_work_size());
    uint8_t *read = malloc(part + !part);
    if (!plt_read(file, from, read, part, scratch, largest, work, plt_work_size()) && !problem &&
        memcmp(read, out + from, part))
        abort();
    free(read);
    free(scratch);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void *work;
    plt_file file;

    if (!work)
        work = malloc(plt_work_size());
    uint8_t *copy = copy_of(data, size);
    if (!plt_open(&file, copy, size)) {
        walk_members(&file);
        /* no input would hold the hash of a base: it is refused, and given all the same */
        if (!plt_set_base(&file, "base", 4) && !file.needs_base)
            abort();
        if (file.needs_base) {
            file.base = base_bytes();
            file.base_size = BASE_SIZE;
        }
        decode_chunks(&file, work);
        if (file.size <= OUTPUT_LIMIT)
            unpack(&file, work);
    }
    free(copy);
    return 0;
}
