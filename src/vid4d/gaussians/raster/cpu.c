/* The C rasteriser: project, sort into tiles, blend; and the way back. Called from cpu.py in this order:
 *
 *   raster_shape     covariances of 4D splats
 *   raster_project   one record per (view, splat), and how many tiles each reaches
 *   raster_forward   lists of splats per tile in order of depth, then the pictures
 *   raster_backward  gradients of all inputs
 *   raster_shape_backward
 *   raster_adam      a step of the optimiser, one parameter at a time
 *   raster_ssim      what the pictures are compared by (ssim.py)
 *   raster_distances, raster_colors
 *                    points looked up in pictures, for meshes (views.py)
 *
 * No atomics: every tile writes its own gradient sums, every splat adds up its own tiles and views, in a
 * fixed order. The bytes of all results are the same for any number of threads.
 */
#include "cpu.h"

#include "cpu_adam.h"
#include "cpu_blend.h"
#include "cpu_project.h"
#include "cpu_shape.h"
#include "cpu_ssim.h"
#include "cpu_views.h"

#ifdef VARIANT_BASE
/* The best variant that this machine can run, as an index into the variants of build.py. */
int raster_isa(void) {
#if defined(__x86_64__) && defined(WITH_X86_VARIANTS)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")
        && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("fma"))
        return 2;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
    return 0;
}

int raster_openmp(void) {
#ifdef _OPENMP
    return 1;
#else
    return 0;
#endif
}

/* Identifies the source this library was built from. */
const char *raster_source(void) { return SOURCE; }
#endif

/* Tiles that a splat reaches, in reading order; returns how many, writes them where out is not NULL. */
static int32_t reached_tiles(const Raster *args, const Record *r, int32_t *out) {
    const double margin = 0.01, x = r->x, y = r->y, limit = r->limit, l1 = r->l1, l2 = r->l2, k = r->k;
    const double row0 = fmax(ceil(y - r->extent_y - 0.5), 0);
    const double row1 = fmin(floor(y + r->extent_y - 0.5), args->height - 1);
    const double peak = -l2 * l1 * r->extent_x / (l2 * l2 + k); /* dy at the rightmost point of the ellipse */
    const int64_t across = tiles_x(args);
    int32_t count = 0;
    if (!(row0 <= row1)) return 0;
    for (int64_t ty = (int64_t)row0 / TILE; ty <= (int64_t)row1 / TILE; ty++) {
        const double low = fmax((double)(ty * TILE), row0) + 0.5 - y;
        const double high = fmin((double)(ty * TILE + TILE - 1), row1) + 0.5 - y;
        const double at_right = fmin(fmax(peak, low), high), at_left = fmin(fmax(-peak, low), high);
        const double right = (sqrt(fmax(limit - k * at_right * at_right, 0)) - l2 * at_right) / l1;
        const double left = (-sqrt(fmax(limit - k * at_left * at_left, 0)) - l2 * at_left) / l1;
        const double first = fmax(ceil(x + left - 0.5 - margin), 0);
        const double last = fmin(floor(x + right - 0.5 + margin), args->width - 1);
        if (!(first <= last)) continue;
        for (int64_t tx = (int64_t)first / TILE; tx <= (int64_t)last / TILE; tx++) {
            if (out) out[count] = (int32_t)(ty * across + tx);
            count++;
        }
    }
    return count;
}

void NAME(raster_project)(const Raster *args) {
    const int64_t total = args->v * args->n;
#pragma omp parallel for schedule(static) num_threads((int)args->threads)
    for (int64_t i = 0; i < total; i++) {
        Splat splat;
        Record *record = (Record *)args->records + i;
        if (project(args, i / args->n, i % args->n, &splat, record)) {
            args->touched[i] = reached_tiles(args, record, 0);
            args->radii[i] = fmaxf(record->extent_x, record->extent_y);
        } else {
            memset(record, 0, sizeof(Record));
            args->touched[i] = 0;
            args->radii[i] = 0;
        }
    }
    args->entry_start[0] = 0;
    for (int64_t v = 0; v < args->v; v++) {
        int64_t count = 0;
        for (int64_t n = 0; n < args->n; n++) {
            args->place_start[v * args->n + n] = args->entry_start[v] + count;
            count += args->touched[v * args->n + n];
        }
        args->entry_start[v + 1] = args->entry_start[v] + count;
    }
}

/* Splats of a view that reach a tile, by depth: a stable radix sort, three passes of 11 bits. */
static int64_t sort_by_depth(const Raster *args, int64_t v) {
    const Record *records = (const Record *)args->records + v * args->n;
    int32_t *from = args->order + v * args->n, *to = args->scratch + v * args->n;
    int64_t count = 0;
    for (int64_t n = 0; n < args->n; n++)
        if (args->touched[v * args->n + n]) from[count++] = (int32_t)n;
    for (int pass = 0; pass < 3; pass++) {
        int64_t start[2049] = {0};
        for (int64_t i = 0; i < count; i++) {
            uint32_t key; /* positive floats sort as their bits */
            memcpy(&key, &records[from[i]].depth, 4);
            start[(key >> (11 * pass) & 2047) + 1]++;
        }
        for (int b = 0; b < 2048; b++) start[b + 1] += start[b];
        for (int64_t i = 0; i < count; i++) {
            uint32_t key;
            memcpy(&key, &records[from[i]].depth, 4);
            to[start[key >> (11 * pass) & 2047]++] = from[i];
        }
        int32_t *swap = from;
        from = to, to = swap;
    }
    if (from != args->order + v * args->n) memcpy(args->order + v * args->n, from, sizeof(int32_t) * count);
    return count;
}

/* Tile lists of one view. Until the last step, places hold tiles and tile_start holds counts. */
static void fill_tiles(const Raster *args, int64_t v) {
    const int64_t tiles = tiles_x(args) * tiles_y(args), count = sort_by_depth(args, v);
    const Record *records = (const Record *)args->records + v * args->n;
    const int64_t *place_start = args->place_start + v * args->n;
    const int32_t *order = args->order + v * args->n, *touched = args->touched + v * args->n;
    int64_t *tile_start = args->tile_start + v * tiles;
    int32_t *list = args->tile_list + args->entry_start[v];
    const int64_t base = args->entry_start[v];
    memset(tile_start, 0, sizeof(int64_t) * tiles);
    for (int64_t i = 0; i < count; i++) {
        const int64_t n = order[i], at = place_start[n] - base;
        reached_tiles(args, records + n, list + at);
        for (int32_t t = 0; t < touched[n]; t++) tile_start[list[at + t]]++;
    }
    int64_t next = base;
    for (int64_t t = 0; t < tiles; t++) {
        const int64_t size = tile_start[t];
        tile_start[t] = next;
        next += size;
    }
    for (int64_t i = 0; i < count; i++) {
        const int64_t n = order[i];
        for (int32_t t = 0; t < touched[n]; t++) {
            const int64_t entry = tile_start[list[place_start[n] - base + t]]++;
            args->ids[entry] = (int32_t)n;
            args->places[entry] = place_start[n] + t;
        }
    }
    for (int64_t t = tiles - 1; t > 0; t--) tile_start[t] = tile_start[t - 1];
    tile_start[0] = base;
}

void NAME(raster_forward)(const Raster *args) {
    const int64_t tiles = tiles_x(args) * tiles_y(args), total = args->v * tiles;
#pragma omp parallel num_threads((int)args->threads)
    {
#pragma omp for schedule(dynamic, 1)
        for (int64_t v = 0; v < args->v; v++) fill_tiles(args, v);
#pragma omp single
        args->tile_start[total] = args->entry_start[args->v];
#pragma omp for schedule(dynamic, 4)
        for (int64_t i = 0; i < total; i++) blend(args, i / tiles, i % tiles);
    }
}

static void splat_backward(const Raster *args, int64_t n) {
    const int64_t dims = args->dims, width = args->harmonics * args->fourier * 3;
    SplatGradient sum;
    memset(&sum, 0, sizeof sum);
    memset(args->g_sh + n * width, 0, sizeof(float) * width);
    for (int64_t v = 0; v < args->v; v++) {
        const int64_t i = v * args->n + n;
        float *g_screen = args->g_screen + i * 2;
        Splat splat;
        Record r;
        g_screen[0] = g_screen[1] = 0;
        if (!args->touched[i] || !project(args, v, n, &splat, &r)) continue;
        double s[ENTRY_SUMS] = {0};
        for (int32_t t = 0; t < args->touched[i]; t++) {
            const float *entry = args->entry_sums + (args->place_start[i] + t) * ENTRY_SUMS;
            for (int k = 0; k < ENTRY_SUMS; k++) s[k] += entry[k];
        }
        /* p = (a dx^2 + 2 b dx dy + c dy^2) / 2, with dx, dy from the mean to the pixel. */
        const double det = splat.low_det, a = splat.low_c / det, b = -splat.b / det, c = splat.low_a / det;
        const RecordGradient g = {
            .x = -(a * s[1] + b * s[2]), .y = -(b * s[1] + c * s[2]),
            .conic_a = 0.5 * s[3], .conic_b = s[4], .conic_c = 0.5 * s[5],
            .opacity = -s[0] / r.opacity, .color = {s[6], s[7], s[8]}, .depth = s[9],
        };
        g_screen[0] = (float)g.x, g_screen[1] = (float)g.y;
        project_backward(args, v, n, &splat, &g, &sum, args->g_sh + n * width);
    }
    for (int64_t i = 0; i < dims; i++) {
        args->g_means[n * dims + i] = (float)sum.mean[i];
        float *row = args->g_covariances + (n * dims + i) * dims;
        for (int64_t j = 0; j < dims; j++) row[j] = (float)sum.cov[i][j];
    }
    args->g_opacities[n] = (float)sum.opacity;
}

void NAME(raster_backward)(const Raster *args) {
    const int64_t tiles = tiles_x(args) * tiles_y(args), total = args->v * tiles;
#pragma omp parallel num_threads((int)args->threads)
    {
#pragma omp for schedule(dynamic, 4)
        for (int64_t i = 0; i < total; i++) blend_backward(args, i / tiles, i % tiles);
#pragma omp for schedule(static)
        for (int64_t n = 0; n < args->n; n++) splat_backward(args, n);
    }
}

void NAME(raster_shape)(const Shape *args) {
#pragma omp parallel for schedule(static) num_threads((int)args->threads)
    for (int64_t first = 0; first < args->n; first += LANES)
        shape_block(args, first, args->n - first < LANES ? args->n - first : LANES);
}

void NAME(raster_shape_backward)(const Shape *args) {
#pragma omp parallel for schedule(static) num_threads((int)args->threads)
    for (int64_t first = 0; first < args->n; first += LANES)
        shape_backward_block(args, first, args->n - first < LANES ? args->n - first : LANES);
}

void NAME(raster_adam)(const Adam *args) {
#pragma omp parallel for schedule(static) num_threads((int)args->threads)
    for (int64_t n = 0; n < args->n; n++)
        if (args->visible[n]) adam_row(args, n);
}

void NAME(raster_ssim)(const Ssim *args) {
#pragma omp parallel for schedule(dynamic, 1) num_threads((int)args->threads)
    for (int64_t i = 0; i < args->n * args->bands; i++) ssim_band(args, i / args->bands, i % args->bands);
}

void NAME(raster_distances)(const Views *args) {
#pragma omp parallel for schedule(dynamic, 1) num_threads((int)args->threads)
    for (int64_t first = 0; first < args->points; first += POINTS)
        distances_block(args, first, args->points - first < POINTS ? args->points - first : POINTS);
}

void NAME(raster_colors)(const Views *args) {
#pragma omp parallel for schedule(dynamic, POINTS) num_threads((int)args->threads)
    for (int64_t i = 0; i < args->points; i++)
        color_of(args, args->places + 3 * i, args->normals + 3 * i, args->colors + 3 * i, args->seen + i);
}
