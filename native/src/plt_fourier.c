/* See plt_fourier.h. Cosines are Taylor series within an eighth of a turn, in 1/2^60. */
#include "plt_fourier.h"

#include "plt_fp32.h"

#include <string.h>

static const uint64_t quarter_pi = 905502432259640355ull; /* pi / 4 */

/* a * b / 2^60 */
static uint64_t multiply(uint64_t a, uint64_t b)
{
    uint64_t ah = a >> 32, al = a & 0xffffffffu, bh = b >> 32, bl = b & 0xffffffffu;
    uint64_t low = al * bl, m1 = ah * bl, m2 = al * bh;
    uint64_t middle = (low >> 32) + (m1 & 0xffffffffu) + (m2 & 0xffffffffu);
    uint64_t high = ah * bh + (m1 >> 32) + (m2 >> 32) + (middle >> 32);
    return high << 4 | (middle & 0xffffffffu) >> 28;
}

/* The cosine (`odd` = 0) or sine (`odd` = 1) of part / whole of an eighth of a turn. */
static uint64_t series(uint32_t part, uint32_t whole, unsigned odd)
{
    uint64_t angle = quarter_pi / whole * part + quarter_pi % whole * part / whole;
    uint64_t square = multiply(angle, angle), term = odd ? angle : 1ull << 60, sum = term;

    for (unsigned k = 1 + odd; k < 24; k += 2) {
        term = multiply(term, square) / (k * (k + 1));
        sum = (k - odd) % 4 == 1 ? sum - term : sum + term;
    }
    return sum;
}

/* |cos(2 pi m / n)|, and whether it is negative; m < n */
static uint64_t cosine(uint32_t m, uint32_t n, int *negative)
{
    uint32_t eighth = 8 * m / n, part = 8 * m % n;
    if (eighth & 1)
        part = n - part;
    *negative = eighth >= 2 && eighth < 6;
    return series(part, n, eighth == 1 || eighth == 2 || eighth == 5 || eighth == 6);
}

void plt_fourier_init(plt_fourier *f, uint32_t points)
{
    memset(f, 0, sizeof *f);
    f->points = points;
    for (uint32_t m = 0; m < points; m++) {
        int negative;
        uint64_t c = cosine(m, points, &negative);
        f->wave[m] = plt_fp32_from_q60(c) | (c && negative ? 0x80000000u : 0);
        /* Hann's window, (1 - cos) / 2, until row 0 says otherwise */
        f->window[m] = plt_fp32_from_q60(((1ull << 60) - (negative ? 0 - c : c)) / 2);
    }
}

uint32_t plt_fourier_expect(const plt_fourier *f, uint32_t row, uint32_t column)
{
    uint32_t half = f->points / 2 + 1, expected;

    if (!row) {
        expected = f->window[column];
    } else {
        uint64_t m = (uint64_t)(row < half ? row : row - half) * column;
        if (row >= half) /* -sin(x) = cos(x + a quarter of a turn) */
            m = 4 * m + f->points;
        uint64_t turn = row < half ? f->points : 4ull * f->points;
        uint64_t place = m % turn;
        if (row >= half && place % 4)
            return f->zero; /* a quarter that is no whole step: only for odd numbers of points */
        uint32_t wave = f->wave[row >= half ? place / 4 : place];
        expected = plt_fp32_multiply(wave, f->window[column]);
    }
    return expected & 0x7fffffffu ? expected : f->zero;
}

void plt_fourier_learn(plt_fourier *f, uint32_t row, uint32_t column, uint32_t value)
{
    if (!row)
        f->window[column] = value;
    if (!(value & 0x7fffffffu))
        f->zero = value;
}
