/* fp32 arithmetic in integers, so that every machine predicts the same numbers. */
#ifndef PLT_FP32_H
#define PLT_FP32_H

#include <stdint.h>

/* a * b, rounded to nearest even, for normal numbers and a normal result; 0 for all others. */
uint32_t plt_fp32_multiply(uint32_t a, uint32_t b);

/* -1024 < v < 1024 as fp32. */
uint32_t plt_fp32_from_int(int32_t v);

/* v / 2^60 rounded to nearest even; v <= 2^60. */
uint32_t plt_fp32_from_q60(uint64_t v);

#endif
