/* Points looked up in pictures of depths from all around: signed distances, and colors. The formulas are
 * those of meshing/depth_views.py. Nothing is stored but what a few points have got so far. */
#ifndef VID4D_RASTER_VIEWS_H
#define VID4D_RASTER_VIEWS_H

#include "cpu.h"

#define POINTS 512 /* done by a thread at a time */

/* Fields in the order of views.py. Pictures are square. alpha, depth: of each view; depth times alpha is
 * what is interpolated between pixels, with nothing beyond the border. */
typedef struct {
    int64_t points, views, size, threads;
    double least_alpha;      /* below which a mean is not divided further */
    double reach, hidden, voxel, behind, min_alpha, truncation, most; /* of signed distances */
    double tolerance, seen_alpha;                                     /* of colors */
    const float *places;     /* points, 3 */
    const float *normals;    /* points, 3 */
    const float *poses;      /* views, 4, 4: world to camera */
    const float *focals;     /* views */
    const float *alpha;      /* views, size, size */
    const float *depth;      /* the same */
    const float *passing;    /* alpha that says where rays pass by */
    const float *color;      /* views, size, size, 3: times alpha */
    const float *eyes;       /* views, 3 */
    const float *trust;      /* views: what each counts */
    const float *power;      /* views: of the cosine */
    const float *least;      /* views: the cosine from which on a view is asked */
    float *distances;        /* points */
    float *colors;           /* points, 3 */
    float *seen;             /* points */
} Views;

/* Where a point is seen: four pixels, what each counts, and its depth along the axis. */
typedef struct {
    int64_t at[4];
    float share[4], z;
} Sight;

static inline Sight look(const Views *args, int64_t v, const float *p) {
    const float *m = args->poses + 16 * v;
    const float x = m[0] * p[0] + m[1] * p[1] + m[2] * p[2] + m[3];
    const float y = m[4] * p[0] + m[5] * p[1] + m[6] * p[2] + m[7];
    const float z = m[8] * p[0] + m[9] * p[1] + m[10] * p[2] + m[11];
    const float scale = args->focals[v] / z, middle = 0.5f * (float)args->size - 0.5f;
    const float column = x * scale + middle, row = y * scale + middle;
    Sight sight = {.z = z};
    if (!(column > -1 && row > -1 && column < (float)args->size && row < (float)args->size)) return sight;
    const int64_t left = (int64_t)floorf(column), top = (int64_t)floorf(row), last = args->size - 1;
    const float right = column - (float)left, down = row - (float)top;
    const float along[2] = {left < 0 ? 0 : 1 - right, left < last ? right : 0};
    const float below[2] = {top < 0 ? 0 : 1 - down, top < last ? down : 0};
    for (int k = 0; k < 4; k++) {
        const int64_t c = left + k % 2, r = top + k / 2;
        sight.at[k] = (v * args->size + (r < 0 ? 0 : r > last ? last : r)) * args->size
            + (c < 0 ? 0 : c > last ? last : c);
        sight.share[k] = along[k % 2] * below[k / 2];
    }
    return sight;
}

static inline float seen_in(const float *pictures, const Sight *s) {
    return s->share[0] * pictures[s->at[0]] + s->share[1] * pictures[s->at[1]]
        + s->share[2] * pictures[s->at[2]] + s->share[3] * pictures[s->at[3]];
}

/* Mean depth of what is seen there. */
static inline float depth_in(const Views *args, const Sight *s, float alpha) {
    float sum = 0;
    for (int k = 0; k < 4; k++) sum += s->share[k] * args->alpha[s->at[k]] * args->depth[s->at[k]];
    return sum / fmaxf(alpha, (float)args->least_alpha);
}

/* Distances of some points, view by view: neighbours are seen in the same part of a picture. In three loops,
 * of which the first and the last are made of vectors. */
static void distances_block(const Views *args, int64_t first, int64_t count) {
    const float reach = (float)args->reach, hidden = (float)args->hidden, behind = (float)args->behind;
    const float min_alpha = (float)args->min_alpha, least = (float)args->least_alpha;
    const float most = (float)args->most;
    const float middle = 0.5f * (float)args->size - 0.5f, size = (float)args->size;
    const int64_t across = args->size;
    float x[POINTS], y[POINTS], z[POINTS], column[POINTS], row[POINTS], away[POINTS];
    float alpha[POINTS], passing[POINTS], depth[POINTS];
    float total[POINTS] = {0}, weight[POINTS] = {0}, passed[POINTS] = {0};
    int32_t name[POINTS];
    for (int64_t i = 0; i < count; i++) {
        const float *p = args->places + 3 * (first + i);
        x[i] = p[0], y[i] = p[1], z[i] = p[2], name[i] = (int32_t)i;
    }
    for (int64_t v = 0; v < args->views; v++) {
        const float *m = args->poses + 16 * v, focal = args->focals[v];
        for (int64_t i = 0; i < count; i++) {
            away[i] = m[8] * x[i] + m[9] * y[i] + m[10] * z[i] + m[11];
            const float scale = focal / away[i];
            column[i] = (m[0] * x[i] + m[1] * y[i] + m[2] * z[i] + m[3]) * scale + middle;
            row[i] = (m[4] * x[i] + m[5] * y[i] + m[6] * z[i] + m[7]) * scale + middle;
        }
        for (int64_t i = 0; i < count; i++) {
            if (column[i] >= 0 && row[i] >= 0 && column[i] < size - 1 && row[i] < size - 1) {
                const int32_t left = (int32_t)column[i], top = (int32_t)row[i];
                const float right = column[i] - (float)left, down = row[i] - (float)top;
                const int64_t at = (v * across + top) * across + left;
                const float *a = args->alpha + at, *d = args->depth + at, *b = args->passing + at;
                const float s = (1 - right) * (1 - down) * a[0], t = right * (1 - down) * a[1];
                const float u = (1 - right) * down * a[across], w = right * down * a[across + 1];
                alpha[i] = s + t + u + w;
                depth[i] = s * d[0] + t * d[1] + u * d[across] + w * d[across + 1];
                passing[i] = b == a ? alpha[i]
                                    : (1 - down) * ((1 - right) * b[0] + right * b[1])
                        + down * ((1 - right) * b[across] + right * b[across + 1]);
            } else {
                const float place[3] = {x[i], y[i], z[i]};
                const Sight sight = look(args, v, place);
                alpha[i] = seen_in(args->alpha, &sight), passing[i] = seen_in(args->passing, &sight);
                depth[i] = depth_in(args, &sight, alpha[i]) * fmaxf(alpha[i], least);
            }
        }
        for (int64_t i = 0; i < count; i++) {
            const float distance = depth[i] / (alpha[i] > least ? alpha[i] : least) - away[i];
            const float empty = passing[i] < min_alpha ? 1.0f : 0.0f;
            float counts = distance < -reach ? behind : 1.0f, held = distance < reach ? distance : reach;
            counts = distance < -hidden ? 0.0f : counts * (1.0f - empty);
            held = held > -reach ? held : -reach;
            total[i] += counts * held, weight[i] += counts, passed[i] += empty;
        }
        if (v % 6 != 5) continue;
        int64_t kept = 0;
        for (int64_t i = 0; i < count; i++) { /* what is empty whatever the others say needs no more views */
            if (passed[i] > most) {
                args->distances[first + name[i]] = (float)args->truncation;
                continue;
            }
            x[kept] = x[i], y[kept] = y[i], z[kept] = z[i], name[kept] = name[i];
            total[kept] = total[i], weight[kept] = weight[i], passed[kept++] = passed[i];
        }
        count = kept;
    }
    for (int64_t i = 0; i < count; i++) {
        const float mean = weight[i] > 0 ? total[i] / fmaxf(weight[i], 1) : -reach;
        const float distance = mean / (float)args->voxel;
        args->distances[first + name[i]] = passed[i] > most ? (float)args->truncation : distance;
    }
}

static inline void color_of(
    const Views *args, const float *place, const float *normal, float *color, float *seen
) {
    float total[3] = {0}, sum = 0;
    for (int64_t v = 0; v < args->views; v++) {
        const float *eye = args->eyes + 3 * v;
        const float x = eye[0] - place[0], y = eye[1] - place[1], z = eye[2] - place[2];
        const float ahead = x * normal[0] + y * normal[1] + z * normal[2];
        if (!(ahead > 0)) continue;
        const float facing = ahead / sqrtf(fmaxf(x * x + y * y + z * z, 1e-24f));
        if (!(facing > args->least[v])) continue;
        const Sight sight = look(args, v, place);
        const float alpha = seen_in(args->alpha, &sight);
        if (!(alpha > (float)args->seen_alpha)) continue;
        if (!(sight.z - depth_in(args, &sight, alpha) < (float)args->tolerance)) continue;
        const float weight = args->trust[v] * alpha * powf(facing, args->power[v]);
        for (int c = 0; c < 3; c++) {
            float mean = 0;
            for (int k = 0; k < 4; k++) mean += sight.share[k] * args->color[sight.at[k] * 3 + c];
            total[c] += weight * fminf(fmaxf(mean / fmaxf(alpha, (float)args->least_alpha), 0), 1);
        }
        sum += weight;
    }
    for (int c = 0; c < 3; c++) color[c] = total[c] / fmaxf(sum, 1e-12f);
    *seen = sum;
}

#endif
