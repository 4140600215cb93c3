/* Shared by the parts of the C rasteriser: its arguments, one record per splat on screen, constants.
 *
 * The whole kernel is compiled once per instruction set (VARIANT) and the loader takes the best one that the
 * machine has. No Python or torch headers: cpu.py fills the struct below through ctypes.
 */
#ifndef VID4D_RASTER_CPU_H
#define VID4D_RASTER_CPU_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define TILE 16
#define NEAR_PLANE 0.05
#define LOW_PASS 0.1
#define ALPHA_MAX 0.99f
#define ALPHA_MIN (1.0 / 255.0)
#define TRANSMITTANCE_MIN 1e-4f
#define COMPENSATION_MIN 2.5e-5
#define JACOBIAN_MARGIN 1.3
#define MARGINAL_CUT 0.05
#define ENTRY_SUMS 10 /* gradient sums per (tile, splat): see blend_backward */

/* Fields in the order of cpu.py. n splats, v views; shapes row-major. dims: 3, or 4 with times. */
typedef struct {
    int64_t n, v, dims, harmonics, fourier, width, height, antialias, cyclic, threads;
    double period;
    const float *means;       /* n, dims */
    const float *covariances; /* n, dims, dims */
    const float *opacities;   /* n */
    const float *sh;          /* n, harmonics, fourier, 3 */
    const float *times;       /* v, or NULL where dims is 3 */
    const float *poses;       /* v, 4, 4: world to camera */
    const float *focals;      /* v */
    const float *background;  /* v, 3 */
    float *records;           /* v, n, RECORD */
    float *radii;             /* v, n: half the longer side of a splat's box, 0 where it is not visible */
    int32_t *touched;         /* v, n: tiles that a splat reaches */
    int64_t *entry_start;     /* v + 1: first entry of each view */
    int32_t *order;           /* v, n: splats in order of depth */
    int32_t *scratch;         /* v, n: for sorting */
    int64_t *tile_start;      /* v * tiles + 1: first entry of each tile */
    int64_t *place_start;     /* v, n: first place of each splat */
    int64_t *places;          /* entries: where the gradient sums of each go: splat by splat */
    int32_t *tile_list;       /* entries: the tiles of each splat, splat by splat */
    int32_t *ids;             /* entries: splat of each entry, tile by tile, front to back */
    float *color;             /* v, h, w, 3 */
    float *alpha;             /* v, h, w */
    float *depth;             /* v, h, w: divided by alpha */
    float *transmittance;     /* v, h, w: what is left of the background */
    int32_t *last;            /* v, h, w: entries of the tile up to the last one that counts */
    const float *g_color;     /* gradients of the pictures; NULL where there is none */
    const float *g_alpha;
    const float *g_depth;
    float *entry_sums;        /* entries, ENTRY_SUMS; splat by splat */
    float *g_means;           /* gradients of the inputs */
    float *g_covariances;
    float *g_opacities;
    float *g_sh;
    float *g_screen;          /* v, n, 2: gradient of the 2D means */
} Raster;

/* A splat on screen. alpha = opacity exp(-p), p = (l1 dx + l2 dy)^2 + k dy^2: half the Mahalanobis distance,
 * as a sum of squares, which keeps needles accurate in float. Nothing is drawn where p > limit. */
typedef struct {
    float x, y, l1, l2, k, opacity, limit, r, g, b, depth, extent_x, extent_y, unused[3];
} Record;

#define CONCAT_(a, b) a##_##b
#define CONCAT(a, b) CONCAT_(a, b)
#define NAME(f) CONCAT(f, VARIANT)

static inline int64_t tiles_x(const Raster *a) { return (a->width + TILE - 1) / TILE; }
static inline int64_t tiles_y(const Raster *a) { return (a->height + TILE - 1) / TILE; }

#endif
