/* Structural similarity (Wang et al. 2004) of pictures, and its gradient; the formulas of metrics/losses.py.
 *
 * One pass over the rows: the five moments of a row are blurred downwards out of the pictures, then along the
 * row; what the gradient needs of them is blurred along the row at once and waits in a ring of rows until the
 * lowest row that reaches back has come. Nothing is stored but rows. Channels lie side by side, so that a
 * step along a row is CHANNELS numbers.
 */
#ifndef VID4D_RASTER_SSIM_H
#define VID4D_RASTER_SSIM_H

#include "cpu.h"

#define CHANNELS 3
#define REACH 5
#define TAPS (2 * REACH + 1)
#define BORDER 16 /* zeros on both sides of a row, CHANNELS * REACH or more */
#define BAND 64   /* rows that are done in one go, at most */
#define ROWS (5 + 1 + 3 + 3 * TAPS) /* of scratch: moments, weights, slopes, the ring of blurred slopes */

/* Fields in the order of ssim.py. n pictures. */
typedef struct {
    int64_t n, height, width, bands, stride, threads;
    double c1, c2;
    const float *taps;       /* TAPS */
    const float *x;          /* n, height, width, CHANNELS */
    const float *y;          /* the same */
    const float *confidence; /* n, height, width, or NULL for 1 everywhere */
    float *gradient;         /* of all losses together in x, or NULL */
    double *losses;          /* n, bands: sums of confidence * (1 - mean SSIM of the channels) */
    float *scratch;          /* n, bands, ROWS, stride; zeros */
} Ssim;

/* As many numbers as the machine computes at a time: this is all sums, and wider vectors would spill. */
#if defined(__AVX512F__)
#define WIDE 16
#elif defined(__AVX__)
#define WIDE 8
#else
#define WIDE 4
#endif
typedef float Wide __attribute__((vector_size(4 * WIDE)));
typedef float WideAt __attribute__((vector_size(4 * WIDE), aligned(4), may_alias)); /* anywhere in memory */

static inline Wide load_wide(const float *from, int64_t left) {
    Wide wide = {0};
    if (left >= WIDE) return *(const WideAt *)from;
    memcpy(&wide, from, sizeof(float) * left);
    return wide;
}

static inline void store_wide(float *to, Wide wide, int64_t left) {
    if (left >= WIDE)
        *(WideAt *)to = wide;
    else
        memcpy(to, &wide, sizeof(float) * left);
}

/* The moments of row r, blurred downwards: x, y, x^2, y^2, x y. */
static inline void blur_moments(
    const Ssim *args, const float *x, const float *y, int64_t r, int64_t length, float *out
) {
    const int64_t first = r < REACH ? REACH - r : 0;
    const int64_t end = r + REACH >= args->height ? args->height - r + REACH : TAPS;
    for (int64_t i = 0; i < length; i += WIDE) {
        Wide mean_x = {0}, mean_y = {0}, xx = {0}, yy = {0}, xy = {0};
        for (int64_t k = first; k < end; k++) {
            const int64_t at = (r + k - REACH) * length + i;
            const Wide a = load_wide(x + at, length - i), b = load_wide(y + at, length - i);
            const Wide ta = args->taps[k] * a, tb = args->taps[k] * b;
            mean_x += ta, mean_y += tb, xx += ta * a, yy += tb * b, xy += ta * b;
        }
        float *to = out + BORDER + i;
        *(WideAt *)to = mean_x;
        *(WideAt *)(to + args->stride) = mean_y;
        *(WideAt *)(to + 2 * args->stride) = xx;
        *(WideAt *)(to + 3 * args->stride) = yy;
        *(WideAt *)(to + 4 * args->stride) = xy;
    }
}

static inline Wide blurred_along(const float *row, const float *taps, int64_t i) {
    Wide sum = {0};
    row += BORDER + i - CHANNELS * REACH;
    for (int k = 0; k < TAPS; k++) sum += taps[k] * *(const WideAt *)(row + CHANNELS * k);
    return sum;
}

/* Loss of a row whose moments are blurred downwards; writes its slopes in the mean of x, x^2 and x y. */
static inline float ssim_row(
    const Ssim *args, const float *moments, const float *weights, int64_t length, float *slopes
) {
    const float c1 = (float)args->c1, c2 = (float)args->c2;
    const int64_t stride = args->stride;
    Wide total = {0};
    for (int64_t i = 0; i < length; i += WIDE) {
        const Wide mean_x = blurred_along(moments, args->taps, i);
        const Wide mean_y = blurred_along(moments + stride, args->taps, i);
        const Wide xx = blurred_along(moments + 2 * stride, args->taps, i);
        const Wide yy = blurred_along(moments + 3 * stride, args->taps, i);
        const Wide xy = blurred_along(moments + 4 * stride, args->taps, i);
        const Wide product = mean_x * mean_y, squares = mean_x * mean_x + mean_y * mean_y;
        const Wide a1 = 2 * product + c1, a2 = 2 * (xy - product) + c2;
        const Wide b1 = squares + c1, b2 = xx + yy - squares + c2;
        const Wide below = 1 / (b1 * b2), ssim = a1 * a2 * below;
        const Wide weight = *(const WideAt *)(weights + BORDER + i);
        total += weight * (1 - ssim);
        const Wide by_xx = ssim * (b1 * below), by_mean = ssim * (b2 * below) - by_xx;
        float *to = slopes + BORDER + i;
        *(WideAt *)to = 2 * weight * (mean_x * by_mean - mean_y * (a2 - a1) * below);
        *(WideAt *)(to + stride) = weight * by_xx;
        *(WideAt *)(to + 2 * stride) = -2 * weight * a1 * below;
    }
    float sum = 0;
    for (int k = 0; k < WIDE; k++) sum += total[k];
    return sum;
}

/* Gradient of row q, out of the ring of slopes. */
static inline void gradient_row(
    const Ssim *args, const float *x, const float *y, const float *ring, int64_t q, int64_t length, float *out
) {
    const int64_t first = q < REACH ? REACH - q : 0, stride = args->stride;
    const int64_t end = q + REACH >= args->height ? args->height - q + REACH : TAPS;
    for (int64_t i = 0; i < length; i += WIDE) {
        Wide mean = {0}, xx = {0}, xy = {0};
        for (int64_t k = first; k < end; k++) {
            const float *row = ring + (q + k - REACH) % TAPS * 3 * stride + BORDER + i;
            mean += args->taps[k] * *(const WideAt *)row;
            xx += args->taps[k] * *(const WideAt *)(row + stride);
            xy += args->taps[k] * *(const WideAt *)(row + 2 * stride);
        }
        const int64_t at = q * length + i, left = length - i;
        store_wide(out + at, mean + 2 * load_wide(x + at, left) * xx + load_wide(y + at, left) * xy, left);
    }
}

static void ssim_band(const Ssim *args, int64_t n, int64_t band) {
    const int64_t height = args->height, length = args->width * CHANNELS, stride = args->stride;
    const int64_t rows = (height + args->bands - 1) / args->bands, start = band * rows;
    const int64_t stop = start + rows < height ? start + rows : height;
    const float *x = args->x + n * height * length, *y = args->y + n * height * length;
    const float *confidence = args->confidence ? args->confidence + n * height * args->width : 0;
    float *moments = args->scratch + (n * args->bands + band) * ROWS * stride;
    float *weights = moments + 5 * stride, *slopes = weights + stride, *ring = slopes + 3 * stride;
    const int64_t beyond = args->gradient ? REACH : 0;
    double loss = 0;
    for (int64_t r = start < beyond ? 0 : start - beyond; r < stop + beyond; r++) {
        if (r < height) {
            for (int64_t p = 0; p < args->width; p++) {
                const float weight = confidence ? confidence[r * args->width + p] : 1;
                for (int c = 0; c < CHANNELS; c++)
                    weights[BORDER + p * CHANNELS + c] = weight * (1.0f / CHANNELS);
            }
            blur_moments(args, x, y, r, length, moments);
            const float row = ssim_row(args, moments, weights, length, slopes);
            if (r >= start && r < stop) loss += row;
            for (int k = 0; args->gradient && k < 3; k++)
                for (int64_t i = 0; i < length; i += WIDE)
                    *(WideAt *)(ring + (r % TAPS * 3 + k) * stride + BORDER + i) =
                        blurred_along(slopes + k * stride, args->taps, i);
        }
        const int64_t q = r - REACH;
        if (args->gradient && q >= start && q < stop)
            gradient_row(args, x, y, ring, q, length, args->gradient + n * height * length);
    }
    args->losses[n * args->bands + band] = loss;
}

#endif
