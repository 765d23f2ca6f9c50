/* Generated tables: the basis of a windowed Fourier transform, as speech networks carry it along.
 *
 * Such a tensor has N columns and 2 (N / 2 + 1) rows: row k of the first half holds
 * cos(2 pi k n / N) w(n), of the second half -sin(2 pi k n / N) w(n). Row 0 is the window w itself
 * and is expected to be Hann's; all other rows follow from it.
 */
#ifndef PLT_FOURIER_H
#define PLT_FOURIER_H

#include <stdint.h>

#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION /* see plt_tensor.h */
enum { PLT_FOURIER_POINTS = 32 };
#else
enum { PLT_FOURIER_POINTS = 4096 };
#endif

typedef struct {
    uint32_t points;
    uint32_t wave[PLT_FOURIER_POINTS];     /* cos(2 pi m / N), fp32 */
    uint32_t window[PLT_FOURIER_POINTS];   /* row 0 as it was coded */
    uint32_t zero;                         /* the last zero's bits: which sign zeros have here */
} plt_fourier;

/* Begins a basis of `points` columns, 1 <= points <= PLT_FOURIER_POINTS. */
void plt_fourier_init(plt_fourier *f, uint32_t points);

/* The fp32 bits to expect at (row, column). */
uint32_t plt_fourier_expect(const plt_fourier *f, uint32_t row, uint32_t column);

/* Tells what was there. */
void plt_fourier_learn(plt_fourier *f, uint32_t row, uint32_t column, uint32_t value);

#endif
