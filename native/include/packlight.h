/* packlight: restores files from .plt containers.
 *
 *     plt_file file;
 *     int problem = plt_open(&file, packed, packed_size);
 *     ... allocate file.size bytes for the result and plt_work_size() bytes to work in ...
 *     if (!problem)
 *         problem = plt_unpack(&file, result, result_size, work, work_size);
 *
 * No function allocates, does input or output, or keeps anything between calls: all memory is the
 * caller's, and any number of threads may decode at once, each with a work area of its own.
 * Functions return PLT_OK or a negative enum plt_error. Nothing in a result counts before
 * plt_unpack(), or plt_verify() or plt_verify_end() after the last chunk, has returned PLT_OK.
 *
 * Files that are too large for memory are decoded chunk by chunk: plt_header_size() says how many
 * bytes plt_open() needs, plt_get_chunk() where a chunk's packed bytes lie and how many bytes it
 * becomes. Chunks that do not continue others (plt_chunk.continues) may be decoded in any order
 * and by several threads at once. plt_read() gives any part, say one tensor, from a container in
 * memory without unpacking the others.
 *
 * The format is documented in docs/format.md.
 */
#ifndef PACKLIGHT_H
#define PACKLIGHT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PLT_VERSION 100 /* 0.1.0 */

enum plt_error {
    PLT_OK = 0,
    PLT_NOT_PLT = -1,       /* the file does not begin as a .plt does */
    PLT_VERSION_NEW = -2,   /* written by a newer packlight */
    PLT_TRUNCATED = -3,     /* the file ends too early */
    PLT_DAMAGED = -4,       /* a checksum or a value is wrong */
    PLT_TOO_SMALL = -5,     /* the caller's memory is too small */
    PLT_FOREIGN_CODEC = -6, /* a chunk was packed with a general codec that is not built in */
    PLT_NEEDS_BASE = -7,    /* the file is a difference to another */
    PLT_BAD_ARGUMENT = -8
};

enum plt_codec {
    PLT_CODEC_STORED = 0,   /* as it is */
    PLT_CODEC_MODEL = 1,    /* segments in one modelled bit stream */
    PLT_CODEC_LZMA = 2,     /* a byte of properties and a raw LZMA stream */
    PLT_CODEC_FAST = 3,     /* planes with static tables */
    PLT_CODEC_FOREIGN = 16  /* first of the codecs that only the Python package decodes */
};

/* A container, or the beginning of one. Only plt_open() and plt_set_base() change what is here. */
typedef struct {
    const uint8_t *data;
    size_t data_size;
    uint64_t size;          /* bytes when unpacked */
    uint64_t packed_size;   /* bytes of the whole container */
    uint64_t largest_chunk; /* bytes of the largest chunk, unpacked */
    uint32_t chunks;
    uint32_t is_archive;
    uint32_t members;       /* files and folders of an archive */
    uint8_t sha256[32];     /* of everything, unpacked */
    uint8_t base_sha256[32];
    uint32_t needs_base;
    uint32_t header_size;
    uint32_t members_at, chunks_at; /* offsets into the header */
    const uint8_t *base;
    size_t base_size;
} plt_file;

typedef struct {
    uint64_t packed_offset; /* in the container */
    uint64_t packed_size;
    uint64_t offset;        /* in the unpacked data */
    uint64_t size;
    uint32_t codec;         /* enum plt_codec */
    uint32_t continues;     /* needs the work area as the modelled chunk before it left it */
    uint32_t crc32;         /* of the packed bytes */
    uint32_t number;        /* 1 for the first chunk */
    uint32_t next_at;       /* offset of the next one's entry in the header */
} plt_chunk;

typedef struct {
    const char *name;       /* UTF-8, not terminated; parts joined by '/', never absolute or ".." */
    size_t name_size;
    uint64_t offset;        /* in the unpacked data */
    uint64_t size;
    uint32_t is_folder;
    uint32_t number, next_at; /* as in plt_chunk */
} plt_member;

/* What plt_verify_add() has seen so far; the caller keeps it and leaves it alone. */
typedef struct {
    uint32_t state[8];
    uint64_t length;
    uint8_t block[64];
} plt_check;

/* Version of the library, to compare with PLT_VERSION. */
int plt_version(void);

/* A short English text for an error code. */
const char *plt_error_text(int error);

/* Bytes of the header at the front of `data`, 0 if `size` bytes do not tell yet (64 always do),
 * or the bytes needed to tell what is wrong. */
size_t plt_header_size(const void *data, size_t size);

/* Reads the header. `size` bytes must hold all of it, but not the chunks; if they hold more than
 * the header, they must be the whole container. `data` must stay while `file` is used. */
int plt_open(plt_file *file, const void *data, size_t size);

/* Goes from one chunk or member to the next, and from one whose `number` is 0 to the first. After
 * the last comes PLT_BAD_ARGUMENT. */
int plt_next_chunk(const plt_file *file, plt_chunk *chunk);
int plt_next_member(const plt_file *file, plt_member *member);

/* The chunk or member at `index`, from 0; counts there from the first. */
int plt_get_chunk(const plt_file *file, uint32_t index, plt_chunk *chunk);
int plt_get_member(const plt_file *file, uint32_t index, plt_member *member);

/* Bytes of work memory that any decoding call needs; the same for all files. */
size_t plt_work_size(void);

/* Gives a container that is a difference (file->needs_base) the file it differs from, which must
 * stay while `file` is used. Takes a hash of all of it; PLT_NEEDS_BASE if it is another file. */
int plt_set_base(plt_file *file, const void *base, size_t base_size);

/* Decodes one chunk: chunk->packed_size bytes at `packed` become chunk->size bytes at `out`. One
 * that continues others is PLT_BAD_ARGUMENT if `work` is not as a modelled chunk left it. */
int plt_decode_chunk(const plt_file *file, const plt_chunk *chunk, const void *packed, void *out,
                     size_t out_size, void *work, size_t work_size);

/* Decodes all of a container that is in memory, and checks it; decodes nothing of one whose
 * checksums tell that it is damaged. */
int plt_unpack(const plt_file *file, void *out, size_t out_size, void *work, size_t work_size);

/* Decodes `size` bytes from `offset` on of a container that is in memory, and no more chunks than
 * they need. `scratch` holds file->largest_chunk bytes. Only the chunks' own checksums are
 * checked. */
int plt_read(const plt_file *file, uint64_t offset, void *out, size_t size, void *scratch,
             size_t scratch_size, void *work, size_t work_size);

/* Checks all of the unpacked data. */
int plt_verify(const plt_file *file, const void *out, size_t out_size);

/* The same in parts, for what does not stay in memory: begin, add all parts in their order, and
 * end; that is PLT_DAMAGED unless they are what was packed, all of it. */
void plt_verify_begin(plt_check *check);
void plt_verify_add(plt_check *check, const void *part, size_t size);
int plt_verify_end(plt_check *check, const plt_file *file);

#ifdef __cplusplus
}
#endif

#endif
