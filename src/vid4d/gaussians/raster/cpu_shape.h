/* From the parameters of 4D splats to covariances, and back (2310.10642, equation 8).
 *
 * The same formulas as model.py. torch multiplies a matrix of 4 x 4 a splat at a time; here LANES splats go
 * together, number by number, so that every line of arithmetic is a vector instruction.
 */
#ifndef VID4D_RASTER_SHAPE_H
#define VID4D_RASTER_SHAPE_H

#include "cpu.h"

#define LANES 16
#define SHORTEST 1e-12f /* quaternion, as torch.nn.functional.normalize has it */
#define EACH for (int k = 0; k < LANES; k++)

typedef float Lanes[LANES];

/* Fields in the order of cpu.py. scales: standard deviations along the rotated axes. */
typedef struct {
    int64_t n, threads;
    const float *scales;        /* n, 4 */
    const float *left;          /* n, 4: quaternions (w, x, y, z) of any length */
    const float *right;         /* n, 4 */
    float *covariances;         /* n, 4, 4 */
    const float *g_covariances; /* n, 4, 4 */
    float *g_log_scales;        /* n, 4 */
    float *g_left;              /* n, 4 */
    float *g_right;             /* n, 4 */
} Shape;

/* Left and right multiplication by a quaternion: which component stands in row i, column j, and its sign. */
static const int COMPONENT[4][4] = {{0, 1, 2, 3}, {1, 0, 3, 2}, {2, 3, 0, 1}, {3, 2, 1, 0}};
static const float LEFT_SIGN[4][4] = {{1, -1, -1, -1}, {1, 1, -1, 1}, {1, 1, 1, -1}, {1, -1, 1, 1}};
static const float RIGHT_SIGN[4][4] = {{1, 1, 1, 1}, {-1, 1, -1, 1}, {-1, 1, 1, -1}, {-1, -1, 1, 1}};

/* Numbers of `count` splats, `width` each, as lanes; the lanes beyond repeat the last splat. */
static void load_lanes(const float *from, int64_t count, int width, Lanes *to) {
    EACH {
        const float *row = from + (k < count ? k : count - 1) * width;
        for (int c = 0; c < width; c++) to[c][k] = row[c];
    }
}

static void store_lanes(const Lanes *from, int64_t count, int width, float *to) {
    for (int64_t k = 0; k < count; k++)
        for (int c = 0; c < width; c++) to[k * width + c] = from[c][k];
}

static void unit_lanes(Lanes *q, Lanes length) {
    EACH {
        const float norm = sqrtf(q[0][k] * q[0][k] + q[1][k] * q[1][k] + q[2][k] * q[2][k] + q[3][k] * q[3][k]);
        length[k] = norm > SHORTEST ? norm : SHORTEST;
    }
    for (int c = 0; c < 4; c++) EACH q[c][k] /= length[k];
}

/* Gradient of quaternions from that of the unit ones. */
static void unit_backward(Lanes *g, const Lanes *q, const Lanes length) {
    Lanes along;
    EACH along[k] = g[0][k] * q[0][k] + g[1][k] * q[1][k] + g[2][k] * q[2][k] + g[3][k] * q[3][k];
    for (int c = 0; c < 4; c++) EACH g[c][k] = (g[c][k] - q[c][k] * along[k]) / length[k];
}

/* R S of splats: the rotation L(l) R(r) with its axes backwards (`model.rotation4d`), columns scaled. */
static void factor_lanes(const Lanes *l, const Lanes *r, const Lanes *scales, Lanes factor[4][4]) {
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            float *out = factor[3 - i][3 - j];
            EACH out[k] = 0;
            for (int m = 0; m < 4; m++) {
                const float *a = l[COMPONENT[i][m]], *b = r[COMPONENT[m][j]];
                const float sign = LEFT_SIGN[i][m] * RIGHT_SIGN[m][j];
                EACH out[k] += sign * a[k] * b[k];
            }
            EACH out[k] *= scales[3 - j][k];
        }
}

static void shape_block(const Shape *args, int64_t first, int64_t count) {
    Lanes l[4], r[4], scales[4], length, factor[4][4], square[16];
    load_lanes(args->left + first * 4, count, 4, l);
    load_lanes(args->right + first * 4, count, 4, r);
    load_lanes(args->scales + first * 4, count, 4, scales);
    unit_lanes(l, length);
    unit_lanes(r, length);
    factor_lanes(l, r, scales, factor);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j <= i; j++) {
            float *out = square[i * 4 + j];
            EACH out[k] = factor[i][0][k] * factor[j][0][k] + factor[i][1][k] * factor[j][1][k]
                          + factor[i][2][k] * factor[j][2][k] + factor[i][3][k] * factor[j][3][k];
            if (j < i) memcpy(square[j * 4 + i], out, sizeof(Lanes));
        }
    store_lanes(square, count, 16, args->covariances + first * 16);
}

static void shape_backward_block(const Shape *args, int64_t first, int64_t count) {
    Lanes l[4], r[4], scales[4], left_length, right_length, factor[4][4], g[16];
    Lanes by_scale[4], by_left[4], by_right[4];
    load_lanes(args->left + first * 4, count, 4, l);
    load_lanes(args->right + first * 4, count, 4, r);
    load_lanes(args->scales + first * 4, count, 4, scales);
    load_lanes(args->g_covariances + first * 16, count, 16, g);
    unit_lanes(l, left_length);
    unit_lanes(r, right_length);
    factor_lanes(l, r, scales, factor);
    memset(by_scale, 0, sizeof by_scale);
    memset(by_left, 0, sizeof by_left);
    memset(by_right, 0, sizeof by_right);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            Lanes by_factor;
            EACH by_factor[k] = 0;
            for (int m = 0; m < 4; m++)
                EACH by_factor[k] += (g[i * 4 + m][k] + g[m * 4 + i][k]) * factor[m][j][k];
            EACH by_scale[j][k] += by_factor[k] * factor[i][j][k];
            EACH by_factor[k] *= scales[j][k];
            for (int m = 0; m < 4; m++) {
                const int a = COMPONENT[3 - i][m], b = COMPONENT[m][3 - j];
                const float sign = LEFT_SIGN[3 - i][m] * RIGHT_SIGN[m][3 - j];
                EACH by_left[a][k] += sign * by_factor[k] * r[b][k];
                EACH by_right[b][k] += sign * by_factor[k] * l[a][k];
            }
        }
    unit_backward(by_left, l, left_length);
    unit_backward(by_right, r, right_length);
    store_lanes(by_scale, count, 4, args->g_log_scales + first * 4);
    store_lanes(by_left, count, 4, args->g_left + first * 4);
    store_lanes(by_right, count, 4, args->g_right + first * 4);
}

#endif
