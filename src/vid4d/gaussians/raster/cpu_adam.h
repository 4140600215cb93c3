/* Adam (1412.6980) on the rows of splats that a camera saw; the same formulas as adam.py. */
#ifndef VID4D_RASTER_ADAM_H
#define VID4D_RASTER_ADAM_H

#include "cpu.h"

/* Fields in the order of cpu.py. n splats, `columns` numbers each. */
typedef struct {
    int64_t n, columns, threads;
    double mean_share, square_share, eps; /* shares of a new gradient in the moments */
    float *parameter;                     /* n, columns */
    const float *gradient;                /* n, columns */
    float *mean;                          /* n, columns: moments */
    float *square;                        /* n, columns */
    const float *fix_mean;                /* n: what the moments of so many steps are divided by */
    const float *fix_square;              /* n */
    const float *rates;                   /* columns */
    const uint8_t *visible;               /* n */
} Adam;

static void adam_row(const Adam *args, int64_t n) {
    const float mean_share = (float)args->mean_share, square_share = (float)args->square_share;
    const float fix_mean = args->fix_mean[n], fix_square = args->fix_square[n], eps = (float)args->eps;
    float *parameter = args->parameter + n * args->columns, *mean = args->mean + n * args->columns;
    float *square = args->square + n * args->columns;
    const float *gradient = args->gradient + n * args->columns;
    for (int64_t c = 0; c < args->columns; c++) {
        const float g = gradient[c];
        mean[c] += mean_share * (g - mean[c]);
        square[c] += square_share * (g * g - square[c]);
        parameter[c] -= args->rates[c] * (mean[c] / fix_mean) / (sqrtf(square[c] / fix_square) + eps);
    }
}

#endif
