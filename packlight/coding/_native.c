/* The native library for Python: bytes in, bytes out, no policy.
 *
 * Uses the limited API of Python 3.11, so one wheel serves all later versions. Work memory is a
 * bytearray that the caller keeps; every call releases the interpreter lock while it codes.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "packlight.h"
#include "packlight_encode.h"
#include "plt_chunk.h"
#include "plt_fast_encode.h"

static PyObject *fail(int problem)
{
    PyErr_Format(PyExc_ValueError, "%s", plt_error_text(problem));
    return NULL;
}

static PyObject *work_size(PyObject *self, PyObject *args)
{
    (void)self;
    (void)args;
    return PyLong_FromSize_t(plt_work_size());
}

static PyObject *header_size(PyObject *self, PyObject *args)
{
    Py_buffer data;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*", &data))
        return NULL;
    size_t size = plt_header_size(data.buf, (size_t)data.len);
    PyBuffer_Release(&data);
    return PyLong_FromSize_t(size);
}

static PyObject *chunk_list(const plt_file *file)
{
    PyObject *list = PyList_New(0);
    plt_chunk c = {0};
    while (list && c.number < file->chunks) {
        if (plt_next_chunk(file, &c)) {
            Py_DECREF(list);
            return fail(PLT_DAMAGED);
        }
        PyObject *item = Py_BuildValue("(IIKKKKI)", c.codec, c.continues,
                                       (unsigned long long)c.offset, (unsigned long long)c.size,
                                       (unsigned long long)c.packed_offset,
                                       (unsigned long long)c.packed_size, c.crc32);
        if (!item || PyList_Append(list, item))
            Py_CLEAR(list);
        Py_XDECREF(item);
    }
    return list;
}

static PyObject *member_list(const plt_file *file)
{
    PyObject *list = PyList_New(0);
    plt_member m = {0};
    while (list && m.number < file->members) {
        if (plt_next_member(file, &m)) {
            Py_DECREF(list);
            return fail(PLT_DAMAGED);
        }
        PyObject *item = Py_BuildValue("(s#KKi)", m.name, (Py_ssize_t)m.name_size,
                                       (unsigned long long)m.offset, (unsigned long long)m.size,
                                       (int)m.is_folder);
        if (!item || PyList_Append(list, item))
            Py_CLEAR(list);
        Py_XDECREF(item);
    }
    return list;
}

/* open(data) -> (size, packed size, sha256, base sha256 or None, members or None, chunks) */
static PyObject *open_container(PyObject *self, PyObject *args)
{
    Py_buffer data;
    plt_file file;
    PyObject *members = NULL, *chunks = NULL, *base = NULL, *result = NULL;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*", &data))
        return NULL;
    int problem = plt_open(&file, data.buf, (size_t)data.len);
    if (problem) {
        PyBuffer_Release(&data);
        return fail(problem);
    }
    members = file.is_archive ? member_list(&file) : Py_NewRef(Py_None);
    if (members)
        chunks = chunk_list(&file);
    if (chunks)
        base = file.needs_base ? PyBytes_FromStringAndSize((const char *)file.base_sha256, 32)
                               : Py_NewRef(Py_None);
    if (base)
        result = Py_BuildValue("(KKy#OOO)", (unsigned long long)file.size,
                               (unsigned long long)file.packed_size, (const char *)file.sha256,
                               (Py_ssize_t)32, base, members, chunks);
    Py_XDECREF(base);
    Py_XDECREF(chunks);
    Py_XDECREF(members);
    PyBuffer_Release(&data);
    return result;
}

/* decode_chunk(codec, continues, crc32, size, packed, out, work, base): `out` and `work` are
 * writable, `base` is bytes or None */
static PyObject *decode_chunk(PyObject *self, PyObject *args)
{
    plt_chunk c = {0};
    plt_file file = {0};
    unsigned long long size;
    unsigned int codec, continues, crc;
    Py_buffer packed, out, work, base;
    int problem;
    (void)self;
    if (!PyArg_ParseTuple(args, "IIIKy*w*w*z*", &codec, &continues, &crc, &size, &packed, &out,
                          &work, &base))
        return NULL;
    file.base = base.buf;
    file.base_size = base.buf ? (size_t)base.len : 0;
    c.codec = codec;
    c.continues = continues;
    c.crc32 = crc;
    c.size = size;
    c.packed_size = (uint64_t)packed.len;
    Py_BEGIN_ALLOW_THREADS
    problem = plt_decode_chunk(&file, &c, packed.buf, out.buf, (size_t)out.len, work.buf,
                               (size_t)work.len);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&packed);
    PyBuffer_Release(&out);
    PyBuffer_Release(&work);
    PyBuffer_Release(&base);
    if (problem)
        return fail(problem);
    Py_RETURN_NONE;
}

/* segments(continues, size, packed, work, base) -> [(kind, bytes, packed bytes)] of a modelled
 * chunk */
static PyObject *list_segments(PyObject *self, PyObject *args)
{
    int continues;
    unsigned long long size;
    Py_buffer packed, work, base;
    plt_range rc;
    (void)self;
    if (!PyArg_ParseTuple(args, "pKy*w*z*", &continues, &size, &packed, &work, &base))
        return NULL;
    PyObject *list = PyList_New(0);
    uint8_t *out = PyMem_Malloc(size ? (size_t)size : 1);
    if (!out || (size_t)work.len < plt_work_size()) {
        Py_CLEAR(list);
        PyErr_NoMemory();
    }
    plt_state *state = plt_state_in(work.buf);
    if (list) {
        if (!continues)
            plt_state_init(state);
        state->base = base.buf;
        state->base_size = base.buf ? (size_t)base.len : 0;
    }
    plt_range_decode(&rc, packed.buf, (size_t)packed.len);
    size_t before = 0;
    for (size_t at = 0, part = 0; list && at < size; at += part) {
        const plt_segment unknown = {0};
        if (plt_segment_code(state, &rc, out, at, (size_t)size, &unknown, 0, &part)) {
            Py_CLEAR(list);
            fail(PLT_DAMAGED);
            break;
        }
        size_t after = at + part == size ? (size_t)packed.len : rc.position;
        PyObject *item = Py_BuildValue("(Inn)", state->open.kind, (Py_ssize_t)part,
                                       (Py_ssize_t)(after > before ? after - before : 0));
        before = after > before ? after : before;
        if (!item || PyList_Append(list, item))
            Py_CLEAR(list);
        Py_XDECREF(item);
    }
    PyMem_Free(out);
    PyBuffer_Release(&packed);
    PyBuffer_Release(&work);
    PyBuffer_Release(&base);
    return list;
}

/* Bytes that no chunk of this size is packed to more than. */
static size_t bound(size_t size)
{
    return size + size / 4 + 4096;
}

/* pack_chunk(raw, plan, palettes, continues, work, measure, base) -> bytes, or their number */
static PyObject *pack_chunk(PyObject *self, PyObject *args)
{
    Py_buffer raw, plan, palettes, work, base;
    int continues, measure;
    PyObject *result = NULL;
    size_t packed = 0;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*y*y*pw*pz*", &raw, &plan, &palettes, &continues, &work, &measure,
                          &base))
        return NULL;
    size_t capacity = bound((size_t)raw.len) + (size_t)palettes.len * 2;
    uint8_t *out = measure ? NULL : PyMem_Malloc(capacity);
    if (!measure && !out) {
        PyErr_NoMemory();
    } else {
        Py_BEGIN_ALLOW_THREADS
        packed = plt_pack_chunk(raw.buf, (size_t)raw.len, plan.buf,
                                (size_t)plan.len / (4 * PLT_PLAN_FIELDS), palettes.buf,
                                (size_t)palettes.len / 4, continues, base.buf,
                                base.buf ? (size_t)base.len : 0, out, capacity, work.buf,
                                (size_t)work.len);
        Py_END_ALLOW_THREADS
        if (!packed)
            fail(PLT_BAD_ARGUMENT);
        else
            result = measure ? PyLong_FromSize_t(packed)
                             : PyBytes_FromStringAndSize((const char *)out, (Py_ssize_t)packed);
    }
    PyMem_Free(out);
    PyBuffer_Release(&raw);
    PyBuffer_Release(&plan);
    PyBuffer_Release(&palettes);
    PyBuffer_Release(&work);
    PyBuffer_Release(&base);
    return result;
}

/* pack_fast(kind, width, items, planes, palette) -> bytes of one record */
static PyObject *pack_fast(PyObject *self, PyObject *args)
{
    unsigned int kind, width;
    unsigned long long items;
    Py_buffer planes, palette;
    PyObject *result = NULL;
    size_t packed = 0;
    (void)self;
    if (!PyArg_ParseTuple(args, "IIKy*y*", &kind, &width, &items, &planes, &palette))
        return NULL;
    size_t needed = kind == PLT_FAST_PLANES ? (size_t)items * width : (size_t)items;
    if (!width || width > 8 || !items || needed > (size_t)planes.len) {
        fail(PLT_BAD_ARGUMENT);
    } else {
        size_t capacity = bound((size_t)planes.len) + (size_t)palette.len + 8192;
        uint8_t *out = PyMem_Malloc(capacity);
        plt_fast_encoder *fast = PyMem_Malloc(sizeof *fast);
        if (!out || !fast) {
            PyErr_NoMemory();
        } else {
            Py_BEGIN_ALLOW_THREADS
            packed = plt_fast_encode(fast, kind, width, (size_t)items, planes.buf, palette.buf,
                                     (uint32_t)((size_t)palette.len / width), out, capacity);
            Py_END_ALLOW_THREADS
            if (packed)
                result = PyBytes_FromStringAndSize((const char *)out, (Py_ssize_t)packed);
            else
                fail(PLT_BAD_ARGUMENT);
        }
        PyMem_Free(fast);
        PyMem_Free(out);
    }
    PyBuffer_Release(&planes);
    PyBuffer_Release(&palette);
    return result;
}

/* pack_kernels(class count, symbols, classes) -> tables and stream of a record of kernels */
static PyObject *pack_kernels(PyObject *self, PyObject *args)
{
    unsigned int count;
    Py_buffer symbols, classes;
    PyObject *result = NULL;
    size_t packed = 0;
    (void)self;
    if (!PyArg_ParseTuple(args, "Iy*y*", &count, &symbols, &classes))
        return NULL;
    size_t items = (size_t)symbols.len, capacity = bound(items) + 1024 * PLT_FAST_TABLES;
    uint8_t *out = PyMem_Malloc(capacity);
    plt_fast_encoder *fast = PyMem_Malloc(sizeof *fast);
    if (!out || !fast) {
        PyErr_NoMemory();
    } else {
        if (count && count <= PLT_FAST_TABLES && items && classes.len == symbols.len) {
            Py_BEGIN_ALLOW_THREADS
            packed = plt_fast_encode_kernels(fast, count, items, symbols.buf, classes.buf, out,
                                             capacity);
            Py_END_ALLOW_THREADS
        }
        result = packed ? PyBytes_FromStringAndSize((const char *)out, (Py_ssize_t)packed)
                        : fail(PLT_BAD_ARGUMENT);
    }
    PyMem_Free(fast);
    PyMem_Free(out);
    PyBuffer_Release(&symbols);
    PyBuffer_Release(&classes);
    return result;
}

static PyObject *index_size(PyObject *self, PyObject *args)
{
    (void)self;
    (void)args;
    return PyLong_FromSize_t(sizeof(plt_index));
}

/* pack_repeats(raw, from, to, likely, index) -> bytes of a record of repeats; `index` is zeros at
 * first, and for the records of one chunk the same */
static PyObject *pack_repeats(PyObject *self, PyObject *args)
{
    unsigned long long from, to, likely;
    Py_buffer raw, index;
    PyObject *result = NULL;
    size_t packed = 0;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*KKKw*", &raw, &from, &to, &likely, &index))
        return NULL;
    if (from >= to || likely > from || to > (unsigned long long)raw.len || to > PLT_INDEX_PLACES ||
        index.len != sizeof(plt_index) || (uintptr_t)index.buf % sizeof(uint32_t)) {
        fail(PLT_BAD_ARGUMENT);
    } else {
        size_t size = (size_t)(to - from), capacity = 2 * size + 8192;
        uint8_t *room = PyMem_Malloc(plt_repeats_room(size)), *out = PyMem_Malloc(capacity);
        plt_fast_encoder *fast = PyMem_Malloc(sizeof *fast);
        if (!room || !out || !fast) {
            PyErr_NoMemory();
        } else {
            Py_BEGIN_ALLOW_THREADS
            packed = plt_fast_encode_repeats(fast, index.buf, raw.buf, (size_t)from, (size_t)to,
                                             (size_t)likely, room, out, capacity);
            Py_END_ALLOW_THREADS
            result = packed ? PyBytes_FromStringAndSize((const char *)out, (Py_ssize_t)packed)
                            : fail(PLT_BAD_ARGUMENT);
        }
        PyMem_Free(fast);
        PyMem_Free(out);
        PyMem_Free(room);
    }
    PyBuffer_Release(&raw);
    PyBuffer_Release(&index);
    return result;
}

static PyMethodDef methods[] = {
    {"work_size", work_size, METH_NOARGS, "Bytes of work memory that coding needs."},
    {"header_size", header_size, METH_VARARGS, "Bytes of the header that begins like this."},
    {"open", open_container, METH_VARARGS, "What a container's header says."},
    {"decode_chunk", decode_chunk, METH_VARARGS, "Decode one chunk into `out`."},
    {"segments", list_segments, METH_VARARGS, "What a modelled chunk consists of."},
    {"pack_chunk", pack_chunk, METH_VARARGS, "Pack one chunk by a plan of segments."},
    {"pack_fast", pack_fast, METH_VARARGS, "Pack one record of the fast codec."},
    {"pack_kernels", pack_kernels, METH_VARARGS, "Tables and stream of a record of kernels."},
    {"index_size", index_size, METH_NOARGS, "Bytes of the index that repeats are found with."},
    {"pack_repeats", pack_repeats, METH_VARARGS, "Pack one record of repeats."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_native",
    .m_doc = "The native coder.",
    .m_size = 0,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModule_Create(&module);
}
