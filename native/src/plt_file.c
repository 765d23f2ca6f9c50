/* The container: header, chunk table, checksums; see docs/format.md. */
#include "packlight.h"

#include "plt_chunk.h"
#include "plt_crc32.h"
#include "plt_fast.h"
#include "plt_lzma.h"
#include "plt_reader.h"
#include "plt_sha256.h"

#include <string.h>

enum { FLAG_ARCHIVE = 1, FLAG_BASE = 2, CHUNK_CONTINUES = 0x80, FORMAT_VERSION = 1 };

/* Guards against headers that promise more than any file holds. */
static const uint64_t size_limit = 1ull << 48;

/* The state of modelled chunks stays while chunks of other codecs come between. */
typedef struct {
    plt_state state;
    union {
        plt_lzma lzma;
        plt_fast fast;
    } other;
    uint64_t ready;         /* STATE_READY once `state` is one that a chunk can continue */
} work_area;

/* A number that fresh memory does not hold by chance. */
#define STATE_READY 0x9c504c5473746174u

int plt_version(void)
{
    return PLT_VERSION;
}

const char *plt_error_text(int error)
{
    switch (error) {
    case PLT_OK: return "no error";
    case PLT_NOT_PLT: return "not a .plt file";
    case PLT_VERSION_NEW: return "written by a newer version";
    case PLT_TRUNCATED: return "the file ends too early";
    case PLT_DAMAGED: return "the file is damaged";
    case PLT_TOO_SMALL: return "the memory given is too small";
    case PLT_FOREIGN_CODEC: return "packed with a codec that is not built in";
    case PLT_NEEDS_BASE: return "the file is a difference and needs its base";
    case PLT_BAD_ARGUMENT: return "an argument makes no sense";
    default: return "unknown error";
    }
}

static const uint8_t magic[4] = {0x9c, 'P', 'L', 'T'};

size_t plt_header_size(const void *data, size_t size)
{
    const uint8_t *p = data;
    if (size < 10)
        return 0;
    return memcmp(p, magic, 4) ? 10 : plt_load32(p + 6);
}

/* A part of a path that every system takes as a plain name. */
static int name_part_is_safe(const uint8_t *part, size_t size)
{
    static const char *const devices[] = {"con", "prn", "aux", "nul", "com", "lpt"};

    if (!size || (size == 1 && part[0] == '.') || (size == 2 && part[0] == '.' && part[1] == '.'))
        return 0;
    if (part[size - 1] == '.' || part[size - 1] == ' ')
        return 0;
    for (size_t i = 0; i < size; i++)
        if (part[i] < 32 || part[i] == 127 || strchr("\\:*?\"<>|", part[i]))
            return 0;
    for (size_t d = 0; d < 6; d++) {
        size_t n = d < 4 ? 3 : 4;
        size_t same = 0;
        while (same < 3 && same < size && (part[same] | 32) == devices[d][same])
            same++;
        if (same < 3)
            continue;
        if (n == 4 && (size < 4 || part[3] < '0' || part[3] > '9'))
            continue;
        if (size == n || part[n] == '.')
            return 0;
    }
    return 1;
}

static int name_is_safe(const uint8_t *name, size_t size)
{
    size_t begin = 0;
    for (size_t i = 0; i <= size; i++)
        if (i == size || name[i] == '/') {
            if (!name_part_is_safe(name + begin, i - begin))
                return 0;
            begin = i + 1;
        }
    return 1;
}

static void read_member(plt_reader *r, plt_member *m)
{
    uint64_t n = plt_read_number(r);
    m->name = (const char *)plt_read_bytes(r, n);
    m->name_size = (size_t)n;
    m->is_folder = 0;
    m->size = plt_read_number(r);
    if (r->failed)
        return;
    if (m->name_size && m->name[m->name_size - 1] == '/') {
        m->is_folder = 1;
        m->name_size--;
        r->failed |= m->size != 0;
    }
    r->failed |= m->size > size_limit || !name_is_safe((const uint8_t *)m->name, m->name_size);
}

static void read_chunk(plt_reader *r, plt_chunk *c)
{
    const uint8_t *p = plt_read_bytes(r, 1);
    c->codec = p ? *p & 0x7f : 0;
    c->continues = p ? *p >> 7 : 0;
    c->size = plt_read_number(r);
    c->packed_size = plt_read_number(r);
    p = plt_read_bytes(r, 4);
    c->crc32 = p ? plt_load32(p) : 0;
    r->failed |= !c->size || c->size > size_limit || c->packed_size > size_limit;
}

int plt_open(plt_file *file, const void *data, size_t size)
{
    const uint8_t *p = data;
    plt_reader r;
    uint64_t total = 0;

    memset(file, 0, sizeof *file);
    if (!data && size)
        return PLT_BAD_ARGUMENT;
    if (size && memcmp(p, magic, size < 4 ? size : 4))
        return PLT_NOT_PLT;
    if (size < 10)
        return PLT_TRUNCATED;
    if (p[4] != FORMAT_VERSION)
        return p[4] > FORMAT_VERSION ? PLT_VERSION_NEW : PLT_DAMAGED;
    file->header_size = plt_load32(p + 6);
    if (file->header_size < 10 + 32 + 4)
        return PLT_DAMAGED;
    if (size < file->header_size)
        return PLT_TRUNCATED;
    if (plt_crc32(p, file->header_size - 4) != plt_load32(p + file->header_size - 4))
        return PLT_DAMAGED;
    if (p[5] & ~(FLAG_ARCHIVE | FLAG_BASE))
        return PLT_VERSION_NEW;

    r = (plt_reader){p + 10, p + file->header_size - 4, 0};
    file->data = p;
    file->data_size = size;
    file->size = plt_read_number(&r);
    const uint8_t *hash = plt_read_bytes(&r, 32);
    if (hash)
        memcpy(file->sha256, hash, 32);
    if (p[5] & FLAG_BASE) {
        file->needs_base = 1;
        if ((hash = plt_read_bytes(&r, 32)) != 0)
            memcpy(file->base_sha256, hash, 32);
    }
    if (p[5] & FLAG_ARCHIVE) {
        uint64_t members = plt_read_number(&r);
        file->is_archive = 1;
        file->members_at = (uint32_t)(r.at - p);
        for (uint64_t i = 0; i < members && !r.failed; i++) {
            plt_member m;
            read_member(&r, &m);
            total += m.size;
            r.failed |= total > size_limit;
        }
        if (r.failed || total != file->size)
            return PLT_DAMAGED;
        file->members = (uint32_t)members;
    }
    uint64_t chunks = plt_read_number(&r);
    int modelled = 0;
    file->chunks_at = (uint32_t)(r.at - p);
    file->packed_size = file->header_size;
    total = 0;
    for (uint64_t i = 0; i < chunks && !r.failed; i++) {
        plt_chunk c;
        read_chunk(&r, &c);
        total += c.size;
        file->packed_size += c.packed_size;
        if (c.size > file->largest_chunk)
            file->largest_chunk = c.size;
        r.failed |= total > size_limit || file->packed_size > size_limit;
        /* only a modelled chunk leaves something to continue */
        r.failed |= c.continues && (c.codec != PLT_CODEC_MODEL || !modelled);
        modelled |= c.codec == PLT_CODEC_MODEL;
    }
    file->chunks = (uint32_t)chunks;
    if (r.failed || r.at != r.end || total != file->size || file->size > size_limit)
        return PLT_DAMAGED;
    if (size > file->header_size && size < file->packed_size)
        return PLT_TRUNCATED;
    return size > file->packed_size ? PLT_DAMAGED : PLT_OK;
}

int plt_next_chunk(const plt_file *file, plt_chunk *chunk)
{
    if (chunk->number >= file->chunks)
        return PLT_BAD_ARGUMENT;
    if (!chunk->number) {
        *chunk = (plt_chunk){.packed_offset = file->header_size, .next_at = file->chunks_at};
    } else {
        chunk->packed_offset += chunk->packed_size;
        chunk->offset += chunk->size;
    }
    plt_reader r = {file->data + chunk->next_at, file->data + file->header_size - 4, 0};
    read_chunk(&r, chunk);
    chunk->next_at = (uint32_t)(r.at - file->data);
    chunk->number++;
    return r.failed ? PLT_DAMAGED : PLT_OK;
}

int plt_next_member(const plt_file *file, plt_member *member)
{
    if (member->number >= file->members)
        return PLT_BAD_ARGUMENT;
    if (!member->number)
        *member = (plt_member){.next_at = file->members_at};
    else
        member->offset += member->size;
    plt_reader r = {file->data + member->next_at, file->data + file->header_size - 4, 0};
    read_member(&r, member);
    member->next_at = (uint32_t)(r.at - file->data);
    member->number++;
    return r.failed ? PLT_DAMAGED : PLT_OK;
}

int plt_get_chunk(const plt_file *file, uint32_t index, plt_chunk *chunk)
{
    int problem = index < file->chunks ? PLT_OK : PLT_BAD_ARGUMENT;

    chunk->number = 0;
    for (uint32_t i = 0; i <= index && !problem; i++)
        problem = plt_next_chunk(file, chunk);
    return problem;
}

int plt_get_member(const plt_file *file, uint32_t index, plt_member *member)
{
    int problem = index < file->members ? PLT_OK : PLT_BAD_ARGUMENT;

    member->number = 0;
    for (uint32_t i = 0; i <= index && !problem; i++)
        problem = plt_next_member(file, member);
    return problem;
}

/* The work area begins at the first suitably aligned byte of the caller's memory. */
enum { WORK_ALIGNMENT = 64 };

size_t plt_work_size(void)
{
    return sizeof(work_area) + WORK_ALIGNMENT;
}

static work_area *area_in(void *work)
{
    uintptr_t excess = (uintptr_t)work % WORK_ALIGNMENT;
    return (work_area *)(void *)((uint8_t *)work + (excess ? WORK_ALIGNMENT - excess : 0));
}

plt_state *plt_state_in(void *work)
{
    return &area_in(work)->state;
}

static int decode_model(work_area *area, const plt_file *file, const plt_chunk *chunk,
                        const uint8_t *in, uint8_t *out)
{
    plt_state *state = &area->state;
    size_t size = (size_t)chunk->size;
    plt_range rc;

    if (!chunk->continues)
        plt_state_init(state);
    else if (area->ready != STATE_READY)
        return PLT_BAD_ARGUMENT;
    else if (state->base != file->base || state->base_size != file->base_size)
        return PLT_BAD_ARGUMENT; /* left by another file: its places may lie outside this base */
    area->ready = 0;
    state->base = file->base;
    state->base_size = file->base_size;
    plt_range_decode(&rc, in, (size_t)chunk->packed_size);
    for (size_t at = 0, part = 0; at < size; at += part) {
        const plt_segment unknown = {0};
        if (plt_segment_code(state, &rc, out, at, size, &unknown, 0, &part))
            return PLT_DAMAGED;
    }
    area->ready = STATE_READY;
    return PLT_OK;
}

int plt_set_base(plt_file *file, const void *base, size_t base_size)
{
    plt_sha256 h;
    uint8_t digest[32];

    if (!file->needs_base || (!base && base_size))
        return PLT_BAD_ARGUMENT;
    plt_sha256_init(&h);
    plt_sha256_add(&h, base, base_size);
    plt_sha256_finish(&h, digest);
    if (memcmp(digest, file->base_sha256, 32))
        return PLT_NEEDS_BASE;
    file->base = base_size ? base : file->data; /* an empty base is one too */
    file->base_size = base_size;
    return PLT_OK;
}

/* Whether the packed bytes of a chunk are those that were written. */
static int check_packed(const plt_chunk *chunk, const void *packed)
{
    if (chunk->packed_size > SIZE_MAX)
        return PLT_TOO_SMALL;
    if (!packed && chunk->packed_size)
        return PLT_BAD_ARGUMENT;
    return plt_crc32(packed, (size_t)chunk->packed_size) == chunk->crc32 ? PLT_OK : PLT_DAMAGED;
}

static int decode_checked(const plt_file *file, const plt_chunk *chunk, const uint8_t *in,
                          void *out, size_t out_size, void *work, size_t work_size)
{
    work_area *area;

    if (!out || !work)
        return PLT_BAD_ARGUMENT;
    if (file->needs_base && !file->base)
        return PLT_NEEDS_BASE;
    if (out_size < chunk->size || work_size < plt_work_size())
        return PLT_TOO_SMALL;
    area = area_in(work);

    size_t size = (size_t)chunk->size, packed_size = (size_t)chunk->packed_size;
    switch (chunk->codec) {
    case PLT_CODEC_STORED:
        if (packed_size != size)
            return PLT_DAMAGED;
        memcpy(out, in, size);
        return PLT_OK;
    case PLT_CODEC_MODEL:
        return decode_model(area, file, chunk, in, out);
    case PLT_CODEC_LZMA:
        if (!packed_size ||
            plt_lzma_decode(&area->other.lzma, in[0], in + 1, packed_size - 1, out, size))
            return PLT_DAMAGED;
        return PLT_OK;
    case PLT_CODEC_FAST:
        if (plt_fast_decode(&area->other.fast, in, packed_size, out, size))
            return PLT_DAMAGED;
        return PLT_OK;
    default:
        return chunk->codec >= PLT_CODEC_FOREIGN ? PLT_FOREIGN_CODEC : PLT_VERSION_NEW;
    }
}

int plt_decode_chunk(const plt_file *file, const plt_chunk *chunk, const void *packed, void *out,
                     size_t out_size, void *work, size_t work_size)
{
    int problem = check_packed(chunk, packed);
    return problem ? problem : decode_checked(file, chunk, packed, out, out_size, work, work_size);
}

void plt_verify_begin(plt_check *check)
{
    plt_sha256_init(check);
}

void plt_verify_add(plt_check *check, const void *part, size_t size)
{
    plt_sha256_add(check, part, size);
}

int plt_verify_end(plt_check *check, const plt_file *file)
{
    uint8_t digest[32];

    plt_sha256_finish(check, digest);
    return memcmp(digest, file->sha256, 32) ? PLT_DAMAGED : PLT_OK;
}

int plt_verify(const plt_file *file, const void *out, size_t out_size)
{
    plt_check check;

    if (out_size != file->size)
        return PLT_BAD_ARGUMENT;
    plt_verify_begin(&check);
    plt_verify_add(&check, out, out_size);
    return plt_verify_end(&check, file);
}

int plt_unpack(const plt_file *file, void *out, size_t out_size, void *work, size_t work_size)
{
    plt_chunk c = {0};
    int problem = PLT_OK;

    if (file->data_size != file->packed_size)
        return PLT_TRUNCATED;
    if (out_size < file->size)
        return PLT_TOO_SMALL;
    /* little beside decoding, which a damaged file is not worth */
    for (uint32_t i = 0; i < file->chunks && !problem; i++) {
        problem = plt_next_chunk(file, &c);
        if (!problem)
            problem = check_packed(&c, file->data + c.packed_offset);
    }
    c = (plt_chunk){0};
    for (uint32_t i = 0; i < file->chunks && !problem; i++) {
        problem = plt_next_chunk(file, &c);
        if (!problem)
            problem = decode_checked(file, &c, file->data + c.packed_offset,
                                     (uint8_t *)out + c.offset, out_size - (size_t)c.offset, work,
                                     work_size);
    }
    return problem ? problem : plt_verify(file, out, (size_t)file->size);
}

/* The chunk to begin with to read from `offset` to `end`: the one that holds `offset`, or, when a
 * chunk on the way continues others, the modelled one that they begin with. */
static uint32_t find_start(const plt_file *file, uint64_t offset, uint64_t end)
{
    plt_chunk c = {0};
    uint32_t fresh = 0, first = UINT32_MAX;

    for (uint32_t i = 0; i < file->chunks && !plt_next_chunk(file, &c) && c.offset < end; i++) {
        if (c.codec == PLT_CODEC_MODEL && !c.continues)
            fresh = i;
        if (c.offset + c.size <= offset)
            continue;
        if (i < first)
            first = i;
        if (c.continues)
            return fresh < first ? fresh : first;
    }
    return first;
}

int plt_read(const plt_file *file, uint64_t offset, void *out, size_t size, void *scratch,
             size_t scratch_size, void *work, size_t work_size)
{
    plt_chunk c = {0};
    uint64_t end = offset + size;
    int problem = PLT_OK;

    if (offset > file->size || size > file->size - offset || (!out && size))
        return PLT_BAD_ARGUMENT;
    if (file->data_size != file->packed_size)
        return PLT_TRUNCATED;
    if (!size)
        return PLT_OK;
    uint32_t start = find_start(file, offset, end);
    for (uint32_t i = 0; !problem && c.offset + c.size < end; i++) {
        problem = plt_next_chunk(file, &c);
        /* before `offset`, only what later chunks continue is needed */
        int before = c.offset + c.size <= offset;
        if (problem || i < start || (before && c.codec != PLT_CODEC_MODEL))
            continue;
        problem = plt_decode_chunk(file, &c, file->data + c.packed_offset, scratch, scratch_size,
                                   work, work_size);
        if (problem || before)
            continue;
        uint64_t from = offset > c.offset ? offset : c.offset;
        uint64_t to = end < c.offset + c.size ? end : c.offset + c.size;
        memcpy((uint8_t *)out + (from - offset), (uint8_t *)scratch + (from - c.offset),
               (size_t)(to - from));
    }
    return problem;
}
