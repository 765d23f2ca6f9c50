/* The levels of one column, chosen row after row: each on the grid by itself, or along the trellis
 * of plt_trellis.h, where Viterbi's algorithm finds the cheapest path.
 *
 * Rows may make good each other's errors: then a row's target moves by what the rows before it lack,
 * on every path by what they lack on that path.
 *
 * Sources: Forney, Proc. IEEE 61 (1973) 268; Duel-Hallen & Heegard, IEEE Trans. Communications 37
 * (1989) 428 (errors kept for each path).
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <math.h>
#include <string.h>

#include "plt_trellis.h"

enum { STATES = PLT_TRELLIS_STATES, LEVELS = 127, NONE = 128, LOOK = 16 };

/* One column. */
typedef struct {
    Py_ssize_t rows;
    const double *target; /* in steps */
    const double *weight; /* what a squared step of error costs */
    const double *price; /* of -LEVELS to LEVELS; along a trellis of -top to top, on either grid */
    int top;             /* the largest level; along a trellis the largest index */
    const int8_t *earlier; /* the levels it had before; NULL: it had none */
    double saving;         /* by each of them that stays */
    const double *below;   /* (rows, width), NULL: every row for itself. Of a row and those before it
                              in its block: how their errors add up, and last what the sum costs */
    Py_ssize_t group, width; /* rows of a group; of a block, counted from the start of the group */
} column;

/* What the rows before it make of a row. */
typedef struct {
    Py_ssize_t place; /* in its block */
    double unit;      /* of the errors of the row */
    const double *below;
} row;

static row row_of(const column *c, Py_ssize_t i)
{
    if (!c->below)
        return (row){0, 0, NULL};
    return (row){i % c->group % c->width, sqrt(c->weight[i]), c->below + i * c->width};
}

static int level_before(const column *c, Py_ssize_t i)
{
    return c->earlier ? c->earlier[i] : NONE;
}

static double dot(const double *a, const double *b, Py_ssize_t count)
{
    double sum[4] = {0};
    Py_ssize_t k = 0;
    for (; k + 4 <= count; k += 4)
        for (int j = 0; j < 4; j++)
            sum[j] += a[k + j] * b[k + j];
    for (; k < count; k++)
        sum[0] += a[k] * b[k];
    return sum[0] + sum[1] + (sum[2] + sum[3]);
}

/* Where a row had best be, `lacking` being what the errors of those before it add up to. */
static double moved(double target, row r, double lacking)
{
    return r.unit > 0 ? target + lacking / r.unit : target;
}

static double cost_of(double weight, row r)
{
    return r.below ? weight * r.below[r.place] : weight;
}

/* A number no farther from 0 than `top`, which is also what none at all becomes. */
static inline double within(double value, double top)
{
    return value < top ? value > -top ? value : -top : top;
}

/* Every row: the cheapest of the nearest level, its neighbour towards zero, zero, and as before. */
static void on_grid(const column *c, double *error, int8_t *level)
{
    for (Py_ssize_t i = 0; i < c->rows; i++) {
        row r = row_of(c, i);
        double target = moved(c->target[i], r, dot(r.below, error, r.place));
        double weight = cost_of(c->weight[i], r);
        int nearest = (int)lrint(within(target, c->top));
        int before = level_before(c, i);
        int candidates[] = {nearest, nearest - plt_trellis_sign(nearest), 0, before};
        double least = INFINITY;
        for (int k = 0; k < 4; k++) {
            int one = candidates[k];
            if (one == NONE)
                continue;
            double far = target - one;
            double all = weight * (far * far) + c->price[one + LEVELS] -
                         (one == before ? c->saving : 0);
            if (all < least) {
                least = all;
                level[i] = (int8_t)one;
            }
        }
        if (r.below)
            error[r.place] = r.unit * (c->target[i] - level[i]);
    }
}

/* How the best path into a state got there. */
typedef struct {
    uint8_t from;
    int8_t index;
} step;

/* A row's two choices on one grid: the cheapest index of either parity. */
typedef struct {
    double cost[2];
    int8_t index[2];
} branch;

/* What an index on a grid costs; outside it, all there is. */
static inline double cost_at(const column *c, double target, double weight, uint32_t grid,
                             int before, int k)
{
    if (k < -c->top || k > c->top)
        return INFINITY;
    int level = plt_trellis_level(k, grid);
    double far = target - level, price = c->price[(int)grid * (2 * c->top + 1) + c->top + k];
    return weight * far * far + price - (level == before ? c->saving : 0);
}

static inline void offer(branch *found, double cost, int k)
{
    if (cost < found->cost[k & 1]) {
        found->cost[k & 1] = cost;
        found->index[k & 1] = (int8_t)k;
    }
}

/* Of the nearest index, its neighbours, zero, and as `before`: a level, or far from any. */
static branch cheapest(const column *c, double target, double weight, uint32_t grid, int before)
{
    double place = grid ? (target + (target > 0) - (target < 0)) / 2 : target / 2;
    int nearest = (int)lrint(within(place, c->top)), odd = nearest & 1;
    double less = cost_at(c, target, weight, grid, before, nearest - 1);
    double more = cost_at(c, target, weight, grid, before, nearest + 1);
    double near = cost_at(c, target, weight, grid, before, nearest);
    double zero = cost_at(c, target, weight, grid, before, 0);
    double beside = more < less ? more : less;
    int other = more < less ? nearest + 1 : nearest - 1;
    double even = odd ? beside : near;
    branch found = {{zero < even ? zero : even, odd ? near : beside},
                    {(int8_t)(zero < even ? 0 : odd ? other : nearest),
                     (int8_t)(odd ? nearest : other)}};
    if (before != NONE) {
        int same = (before + (grid ? plt_trellis_sign(before) : 0)) / 2;
        offer(&found, cost_at(c, target, weight, grid, before, same), same);
    }
    return found;
}

/* The errors of a block's rows so far: of those before `own` the same on all paths, of the others
 * (states, width). */
typedef struct {
    double *common, *had, *has; /* `has` is what becomes of `had` */
    Py_ssize_t own;
    Py_ssize_t look; /* once so many differ, it is worth looking for where the paths part */
} errors;

/* Of the last `count` rows up to i, those on which the paths into the states alive differ. */
static Py_ssize_t apart(step (*path)[STATES], unsigned states, Py_ssize_t i, Py_ssize_t count)
{
    for (Py_ssize_t back = 0; back < count; back++) {
        unsigned before = 0;
        for (int s = 0; s < STATES; s++)
            if (states >> s & 1)
                before |= 1u << path[i - back][s].from;
        if (!(before & (before - 1)))
            return back + 1;
        states = before;
    }
    return count;
}

/* Behind row i: what has become the same on all paths is kept once. `count` rows may differ. */
static void join(errors *e, step (*path)[STATES], const double *cost, Py_ssize_t i,
                 Py_ssize_t count, Py_ssize_t width)
{
    unsigned states = 0;
    int any = 0;
    for (int s = 0; s < STATES; s++)
        if (cost[s] < INFINITY) {
            states |= 1u << s;
            any = s;
        }
    Py_ssize_t left = apart(path, states, i, count), own = e->own + count - left;
    for (; e->own < own; e->own++)
        e->common[e->own] = e->had[any * width + e->own];
    e->look = left + LOOK;
}

/* The two ways into every state, from the lower one first; an index of 1 stands for any odd one. */
static void ways(step (*into)[2])
{
    int known[STATES] = {0};
    for (int s = 0; s < STATES; s++)
        for (int parity = 0; parity < 2; parity++) {
            int to = plt_trellis_after((uint8_t)s, (uint8_t)parity);
            into[to][known[to]++] = (step){(uint8_t)s, (int8_t)parity};
        }
}

/* `room`: for a row of errors, and those of all states twice. */
static void along_trellis(const column *c, double *room, step (*path)[STATES], int8_t *level)
{
    double cost[STATES], next[STATES];
    branch of[STATES];
    step into[STATES][2];
    errors e = {room, room + c->width, room + (1 + STATES) * c->width, 0, LOOK};

    ways(into);
    for (int s = 0; s < STATES; s++)
        cost[s] = s ? INFINITY : 0;
    for (Py_ssize_t i = 0; i < c->rows; i++) {
        row r = row_of(c, i);
        if (!r.place) {
            e.own = 0;
            e.look = LOOK;
        }
        Py_ssize_t own = e.own, differ = r.place - own;
        double lacking = dot(r.below, e.common, own);
        for (int s = 0; s < STATES; s++) {
            uint32_t grid = s & 1;
            if (!r.below && s > 1)
                of[s] = of[grid]; /* all paths see the same target */
            else if (r.below && cost[s] == INFINITY)
                of[s] = (branch){{INFINITY, INFINITY}, {0, 0}};
            else {
                double more = differ ? dot(r.below + own, e.had + s * c->width + own, differ) : 0;
                of[s] = cheapest(c, moved(c->target[i], r, lacking + more),
                                 cost_of(c->weight[i], r), grid, level_before(c, i));
            }
        }
        for (int s = 0; s < STATES; s++) {
            step one = into[s][0], two = into[s][1]; /* their parities stand for their indices */
            double first = cost[one.from] + of[one.from].cost[one.index];
            double second = cost[two.from] + of[two.from].cost[two.index];
            step best = second < first ? two : one;
            next[s] = second < first ? second : first;
            path[i][s] = (step){best.from, of[best.from].index[best.index]};
        }
        for (int s = 0; s < STATES; s++) {
            cost[s] = next[s];
            if (!r.below || cost[s] == INFINITY)
                continue;
            step back = path[i][s];
            double *error = e.has + s * c->width;
            memcpy(error + own, e.had + back.from * c->width + own, (size_t)differ * sizeof *error);
            error[r.place] = r.unit * (c->target[i] - plt_trellis_level(back.index, back.from & 1));
        }
        double *other = e.had;
        e.had = e.has;
        e.has = other;
        if (r.below && ++differ >= e.look)
            join(&e, path, cost, i, differ, c->width);
    }
    int state = 0;
    for (int s = 1; s < STATES; s++)
        state = cost[s] < cost[state] ? s : state;
    for (Py_ssize_t i = c->rows; i-- > 0;) {
        step back = path[i][state];
        state = back.from;
        level[i] = (int8_t)plt_trellis_level(back.index, (uint32_t)state & 1);
    }
}

/* Both functions: (targets, weights, prices, top, earlier, saving, below, group, width) -> int8 */
static PyObject *choose(PyObject *args, int trellis)
{
    Py_buffer target, weight, price, earlier, below;
    PyObject *result = NULL;
    column c;
    if (!PyArg_ParseTuple(args, "y*y*y*iy*dy*nn", &target, &weight, &price, &c.top,
                          &earlier, &c.saving, &below, &c.group, &c.width))
        return NULL;
    const Py_ssize_t item = sizeof(double);
    const Py_ssize_t prices = trellis ? 2 * (2 * (Py_ssize_t)c.top + 1) : 2 * LEVELS + 1;
    const int most = trellis ? LEVELS / 2 : LEVELS;
    c.rows = target.len / item;
    c.target = target.buf;
    c.weight = weight.buf;
    c.price = price.buf;
    c.earlier = earlier.len ? earlier.buf : NULL;
    c.below = below.len ? below.buf : NULL;
    if (weight.len != target.len || c.top < 0 || c.top > most || price.len != prices * item) {
        PyErr_Format(PyExc_ValueError, "targets and weights alike, %zd prices, and levels up to %d",
                     prices, most);
    } else if (earlier.len && earlier.len != c.rows) {
        PyErr_SetString(PyExc_ValueError, "as many earlier levels as targets");
    } else if (c.width < 0 || (below.len && (c.group < 1 || c.width < 1)) ||
               below.len != c.rows * c.width * item) {
        PyErr_SetString(PyExc_ValueError, "below every target as many numbers as a block is wide");
    } else {
        double *room = PyMem_Calloc((size_t)((1 + 2 * STATES) * c.width + 1), sizeof *room);
        step(*path)[STATES] = PyMem_Calloc(trellis ? (size_t)c.rows + 1 : 1, sizeof *path);
        int8_t *level = PyMem_Malloc((size_t)c.rows + 1);
        if (room && path && level) {
            Py_BEGIN_ALLOW_THREADS
            if (trellis)
                along_trellis(&c, room, path, level);
            else
                on_grid(&c, room, level);
            Py_END_ALLOW_THREADS
            result = PyBytes_FromStringAndSize((const char *)level, c.rows);
        } else {
            PyErr_NoMemory();
        }
        PyMem_Free(room);
        PyMem_Free(path);
        PyMem_Free(level);
    }
    PyBuffer_Release(&target);
    PyBuffer_Release(&weight);
    PyBuffer_Release(&price);
    PyBuffer_Release(&earlier);
    PyBuffer_Release(&below);
    return result;
}

static PyObject *choose_on_grid(PyObject *self, PyObject *args)
{
    (void)self;
    return choose(args, 0);
}

static PyObject *choose_along_trellis(PyObject *self, PyObject *args)
{
    (void)self;
    return choose(args, 1);
}

static PyMethodDef methods[] = {
    {"on_grid", choose_on_grid, METH_VARARGS, "Levels of a column, each row by itself."},
    {"along_trellis", choose_along_trellis, METH_VARARGS, "Levels of the cheapest path."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_choose",
    .m_doc = "The levels of a column.",
    .m_size = 0,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__choose(void)
{
    return PyModule_Create(&module);
}
