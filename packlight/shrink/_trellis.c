/* The cheapest path through the trellis of plt_trellis.h: Viterbi's algorithm, for one column.
 *
 * Source: Forney, Proc. IEEE 61 (1973) 268.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <math.h>

#include "plt_trellis.h"

enum { TOP = 32, PRICES = 2 * TOP + 1, NONE = 4 * TOP };

/* How the best path into a state got there. */
typedef struct {
    uint8_t from;
    int8_t index;
} step;

/* The levels that a column had before, and what each saves that stays. */
typedef struct {
    const int8_t *level; /* NULL: it had none */
    double saving;
} earlier;

/* The cheapest index of each parity on one grid: the nearest, its neighbours, zero, or as `before`;
 * `before` is a level, or far from any. */
static void cheapest(double target, double weight, const double *price, uint32_t grid, int before,
                     double saving, double cost[2], int8_t index[2])
{
    double place = grid ? (target + (target > 0) - (target < 0)) / 2 : target / 2;
    int nearest = (int)lrint(fmax(-TOP, fmin(TOP, place)));
    int same = (before + (grid ? (before > 0) - (before < 0) : 0)) / 2;
    int candidates[] = {nearest, nearest - 1, nearest + 1, 0, same};

    cost[0] = cost[1] = INFINITY;
    for (int i = 0; i < 5; i++) {
        int k = candidates[i];
        if (k < -TOP || k > TOP)
            continue;
        int level = plt_trellis_level(k, grid);
        double far = target - level;
        double all = weight * far * far + price[k + TOP] - (level == before ? saving : 0);
        if (all < cost[k & 1]) {
            cost[k & 1] = all;
            index[k & 1] = (int8_t)k;
        }
    }
}

static void search(Py_ssize_t n, const double *target, const double *weight, const double *price,
                   earlier before, step (*path)[PLT_TRELLIS_STATES], int8_t *level)
{
    double cost[PLT_TRELLIS_STATES], next[PLT_TRELLIS_STATES], branch[2][2];
    int8_t index[2][2] = {{0}};

    for (int s = 0; s < PLT_TRELLIS_STATES; s++)
        cost[s] = s ? INFINITY : 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        for (uint32_t grid = 0; grid < 2; grid++)
            cheapest(target[i], weight[i], price + grid * PRICES, grid,
                     before.level ? before.level[i] : NONE, before.saving, branch[grid],
                     index[grid]);
        for (int s = 0; s < PLT_TRELLIS_STATES; s++)
            next[s] = INFINITY;
        for (int s = 0; s < PLT_TRELLIS_STATES; s++)
            for (int parity = 0; parity < 2; parity++) {
                double all = cost[s] + branch[s & 1][parity];
                int to = plt_trellis_after((uint8_t)s, (uint8_t)parity);
                if (all < next[to]) {
                    next[to] = all;
                    path[i][to] = (step){(uint8_t)s, index[s & 1][parity]};
                }
            }
        for (int s = 0; s < PLT_TRELLIS_STATES; s++)
            cost[s] = next[s];
    }
    int state = 0;
    for (int s = 1; s < PLT_TRELLIS_STATES; s++)
        state = cost[s] < cost[state] ? s : state;
    for (Py_ssize_t i = n; i-- > 0;) {
        step back = path[i][state];
        state = back.from;
        level[i] = (int8_t)plt_trellis_level(back.index, (uint32_t)state & 1);
    }
}

/* cheapest_path(targets, weights, prices, earlier=b"", saving=0.0) -> levels, int8 bytes;
 * float64 arrays of n, n, 2 x 65; n levels as they were before, or none */
static PyObject *cheapest_path(PyObject *self, PyObject *args)
{
    Py_buffer target, weight, price, had = {0};
    double saving = 0;
    PyObject *result = NULL;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*y*y*|y*d", &target, &weight, &price, &had, &saving))
        return NULL;
    Py_ssize_t n = target.len / (Py_ssize_t)sizeof(double);
    if (weight.len != target.len || price.len != 2 * PRICES * (Py_ssize_t)sizeof(double)) {
        PyErr_SetString(PyExc_ValueError, "targets and weights alike, and two times 65 prices");
    } else if (had.len && had.len != n) {
        PyErr_SetString(PyExc_ValueError, "as many earlier levels as targets");
    } else {
        earlier before = {had.len ? had.buf : NULL, saving};
        step(*path)[PLT_TRELLIS_STATES] = PyMem_Calloc((size_t)n + 1, sizeof *path);
        int8_t *level = PyMem_Malloc((size_t)n + 1);
        if (path && level) {
            Py_BEGIN_ALLOW_THREADS
            search(n, target.buf, weight.buf, price.buf, before, path, level);
            Py_END_ALLOW_THREADS
            result = PyBytes_FromStringAndSize((const char *)level, n);
        } else {
            PyErr_NoMemory();
        }
        PyMem_Free(path);
        PyMem_Free(level);
    }
    PyBuffer_Release(&target);
    PyBuffer_Release(&weight);
    PyBuffer_Release(&price);
    if (had.obj)
        PyBuffer_Release(&had);
    return result;
}

static PyMethodDef methods[] = {
    {"cheapest_path", cheapest_path, METH_VARARGS, "Levels of the cheapest path down a column."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_trellis",
    .m_doc = "Search of the trellis.",
    .m_size = 0,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__trellis(void)
{
    return PyModule_Create(&module);
}
