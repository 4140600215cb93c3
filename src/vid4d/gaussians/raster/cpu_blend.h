/* Blending the splats of one tile of 16 x 16 pixels, front to back, and its gradient, back to front.
 *
 * A row of a tile is one vector of 16 floats (GCC and Clang split it into what the machine has). Every sum is
 * made in a fixed order, so the result does not depend on the number of threads.
 */
#ifndef VID4D_RASTER_BLEND_H
#define VID4D_RASTER_BLEND_H

#include "cpu.h"

#define AHEAD 6 /* entries whose records are fetched early */

typedef float Row __attribute__((vector_size(4 * TILE)));
typedef int32_t Mask __attribute__((vector_size(4 * TILE)));

static inline Row keep(Row x, Mask m) { return (Row)((Mask)x & m); }

/* exp(-p) for p in [0, 80], relative error 2e-7: 2^round(y) times a polynomial of degree 5. */
static inline Row exp_minus(Row p) {
    const Row y = p * -1.44269504f, shifted = y + 12582912.0f, f = y - (shifted - 12582912.0f);
    const Row high = 0.05550713f + f * (0.009675541f + f * 0.0013276472f);
    const Row power = 1.0f + f * (0.69314697f + f * (0.2402212f + f * high));
    return (Row)((Mask)power + ((Mask)shifted << 23));
}

static inline float sum(Row x) {
    union {
        Row row;
        float lane[TILE];
    } u = {x};
    for (int width = TILE / 2; width; width /= 2)
        for (int i = 0; i < width; i++) u.lane[i] += u.lane[i + width];
    return u.lane[0];
}

static inline int any(Mask m) {
    union {
        Mask mask;
        int64_t lane[TILE / 2];
    } u = {m};
    int64_t all = 0;
    for (int i = 0; i < TILE / 2; i++) all |= u.lane[i];
    return all != 0;
}

/* Rows of the tile that a splat reaches, within [0, rows). */
static inline void row_range(const Record *r, int64_t top, int64_t rows, int *first, int *end) {
    const float y = r->y - 0.5f - (float)top;
    const float low = ceilf(y - r->extent_y), high = floorf(y + r->extent_y);
    *first = low > 0 ? (low < (float)rows ? (int)low : (int)rows) : 0;
    *end = high < (float)(rows - 1) ? (high >= 0 ? (int)high + 1 : 0) : (int)rows;
}

static inline Row lanes(int64_t left) {
    Row x;
    for (int i = 0; i < TILE; i++) x[i] = (float)(left + i) + 0.5f;
    return x;
}

static void blend(const Raster *args, int64_t v, int64_t tile) {
    const int64_t across = tiles_x(args), left = tile % across * TILE, top = tile / across * TILE;
    const int64_t rows = args->height - top < TILE ? args->height - top : TILE;
    const int64_t columns = args->width - left < TILE ? args->width - left : TILE;
    const int64_t begin = args->tile_start[v * across * tiles_y(args) + tile];
    const int64_t end = args->tile_start[v * across * tiles_y(args) + tile + 1];
    const Record *records = (const Record *)args->records + v * args->n;
    const Row zero = {0}, pixel_x = lanes(left);
    Row transmittance[TILE], red[TILE], green[TILE], blue[TILE], depth[TILE];
    Mask last[TILE];
    for (int j = 0; j < TILE; j++) {
        transmittance[j] = zero + 1.0f;
        red[j] = green[j] = blue[j] = depth[j] = zero;
        last[j] = (Mask)zero;
    }
    for (int64_t e = begin; e < end; e++) {
        if (e + AHEAD < end) __builtin_prefetch(records + args->ids[e + AHEAD]);
        const Record r = records[args->ids[e]];
        const Row across_term = (pixel_x - r.x) * r.l1;
        const int32_t index = (int32_t)(e - begin) + 1;
        int j, stop;
        row_range(&r, top, rows, &j, &stop);
        for (; j < stop; j++) {
            const float dy = (float)(top + j) + 0.5f - r.y;
            const Row u = across_term + r.l2 * dy, p = u * u + r.k * dy * dy;
            const Mask m = (p <= r.limit) & (transmittance[j] >= TRANSMITTANCE_MIN);
            Row alpha = exp_minus(keep(p, m)) * r.opacity;
            const Mask open = alpha < ALPHA_MAX;
            alpha = keep((Row)(((Mask)alpha & open) | ((Mask)(zero + ALPHA_MAX) & ~open)), m);
            const Row w = alpha * transmittance[j];
            red[j] += w * r.r;
            green[j] += w * r.g;
            blue[j] += w * r.b;
            depth[j] += w * r.depth;
            transmittance[j] -= w;
            last[j] = (m & index) | (~m & last[j]);
        }
        if ((index & 15) == 0) { /* stop where the whole tile is opaque */
            Mask live = (Mask)zero;
            for (int i = 0; i < rows; i++) live |= transmittance[i] >= TRANSMITTANCE_MIN;
            if (!any(live)) break;
        }
    }
    const float *background = args->background + v * 3;
    for (int j = 0; j < rows; j++) {
        const int64_t at = (v * args->height + top + j) * args->width + left;
        const Row alpha = 1.0f - transmittance[j], r = red[j] + transmittance[j] * background[0];
        const Row g = green[j] + transmittance[j] * background[1];
        const Row b = blue[j] + transmittance[j] * background[2];
        float *color = args->color + at * 3, *depth_out = args->depth + at;
        for (int i = 0; i < columns; i++) {
            color[i * 3 + 0] = r[i], color[i * 3 + 1] = g[i], color[i * 3 + 2] = b[i];
            depth_out[i] = depth[j][i] / (alpha[i] > 0 ? alpha[i] : 1);
        }
        memcpy(args->alpha + at, &alpha, sizeof(float) * columns);
        memcpy(args->transmittance + at, &transmittance[j], sizeof(float) * columns);
        memcpy(args->last + at, &last[j], sizeof(int32_t) * columns);
    }
}

/* Per entry, sums over the tile's pixels of q = dL/dp and: q, q dx, q dy, q dx^2, q dx dy, q dy^2; of the
 * weight times the gradients of red, green, blue, depth. */
static void blend_backward(const Raster *args, int64_t v, int64_t tile) {
    const int64_t across = tiles_x(args), left = tile % across * TILE, top = tile / across * TILE;
    const int64_t rows = args->height - top < TILE ? args->height - top : TILE;
    const int64_t columns = args->width - left < TILE ? args->width - left : TILE;
    const int64_t begin = args->tile_start[v * across * tiles_y(args) + tile];
    const int64_t end = args->tile_start[v * across * tiles_y(args) + tile + 1];
    const Record *records = (const Record *)args->records + v * args->n;
    const float *background = args->background + v * 3;
    const Row zero = {0}, pixel_x = lanes(left);
    /* behind: what lies behind the current splat, as its product with the gradient. */
    Row transmittance[TILE], behind[TILE], red[TILE], green[TILE], blue[TILE], depth[TILE];
    Mask last[TILE];
    int32_t used = 0;
    if (begin == end) return;
    for (int j = 0; j < rows; j++) {
        const int64_t at = (v * args->height + top + j) * args->width + left;
        red[j] = green[j] = blue[j] = depth[j] = behind[j] = zero;
        transmittance[j] = zero + 1.0f;
        last[j] = (Mask)zero;
        for (int i = 0; i < columns; i++) {
            const float t = args->transmittance[at + i];
            float rest = 0;
            if (args->g_color) {
                const float *g = args->g_color + (at + i) * 3;
                red[j][i] = g[0], green[j][i] = g[1], blue[j][i] = g[2];
                rest += g[0] * background[0] + g[1] * background[1] + g[2] * background[2];
            }
            if (args->g_alpha) rest -= args->g_alpha[at + i];
            if (args->g_depth) { /* depth = sum / alpha */
                depth[j][i] = args->g_depth[at + i] / fmaxf(1 - t, 0.5f * (float)ALPHA_MIN);
                rest += depth[j][i] * args->depth[at + i];
            }
            transmittance[j][i] = t;
            behind[j][i] = t * rest;
            last[j][i] = args->last[at + i];
            if (last[j][i] > used) used = last[j][i];
        }
    }
    for (int64_t e = begin + used; e < end; e++)
        memset(args->entry_sums + args->places[e] * ENTRY_SUMS, 0, sizeof(float) * ENTRY_SUMS);
    for (int64_t e = begin + used - 1; e >= begin; e--) {
        if (e - AHEAD >= begin) __builtin_prefetch(records + args->ids[e - AHEAD]);
        const Record r = records[args->ids[e]];
        const Row dx = pixel_x - r.x, across_term = dx * r.l1;
        const int32_t index = (int32_t)(e - begin) + 1;
        Row q0 = zero, qx = zero, qy = zero, qxx = zero, qxy = zero, qyy = zero;
        Row sr = zero, sg = zero, sb = zero, sz = zero;
        int j, stop;
        row_range(&r, top, rows, &j, &stop);
        for (; j < stop; j++) {
            const float dy = (float)(top + j) + 0.5f - r.y;
            const Row u = across_term + r.l2 * dy, p = u * u + r.k * dy * dy;
            const Mask m = (p <= r.limit) & (last[j] >= index);
            const Row full = keep(exp_minus(keep(p, m)) * r.opacity, m);
            const Mask open = full < ALPHA_MAX;
            const Row alpha = (Row)(((Mask)full & open) | ((Mask)(zero + ALPHA_MAX) & ~open));
            const Row inverse = 1.0f / (1.0f - alpha);
            const Row before = transmittance[j] * inverse, w = before * alpha;
            const Row value = red[j] * r.r + green[j] * r.g + blue[j] * r.b + depth[j] * r.depth;
            const Row q = keep((behind[j] * inverse - before * value) * full, open);
            transmittance[j] = before;
            behind[j] += w * value;
            q0 += q;
            qx += q * dx;
            qxx += q * dx * dx;
            qy += q * dy;
            qxy += q * dx * dy;
            qyy += q * (dy * dy);
            sr += w * red[j];
            sg += w * green[j];
            sb += w * blue[j];
            sz += w * depth[j];
        }
        float *out = args->entry_sums + args->places[e] * ENTRY_SUMS;
        out[0] = sum(q0), out[1] = sum(qx), out[2] = sum(qy);
        out[3] = sum(qxx), out[4] = sum(qxy), out[5] = sum(qyy);
        out[6] = sum(sr), out[7] = sum(sg), out[8] = sum(sb), out[9] = sum(sz);
    }
}

#endif
