/* One splat in one view: slice in time, EWA projection, color; and the gradients of all that.
 *
 * Sources: 4D Gaussian Splatting (2310.10642, equations 9 to 12); EWA splatting (Zwicker 2001); 3DGS
 * (2308.04079). The same formulas as model.py, sh.py and reference.py. In double: it is a small part of the
 * time, and needles need it.
 */
#ifndef VID4D_RASTER_PROJECT_H
#define VID4D_RASTER_PROJECT_H

#include "cpu.h"

/* What the gradient needs again. */
typedef struct {
    double time_step, variance, cross[3], marginal; /* slicing */
    double mean[3], cov[3][3], opacity;             /* the 3D splat */
    double cam[3], focal, sx, sy, to_screen[2][3];  /* camera space; the clamped slopes x / z, y / z */
    double a, b, c, det, low_a, low_c, low_det;     /* 2D covariance without and with the low-pass */
    double ratio, compensation;
    double direction[3], distance, basis[16], raw[3];
} Splat;

static void sh_basis(int64_t count, const double d[3], double *out) {
    const double x = d[0], y = d[1], z = d[2], xx = x * x, yy = y * y, zz = z * z;
    out[0] = 0.28209479177387814;
    if (count < 4) return;
    out[1] = -0.4886025119029199 * y;
    out[2] = 0.4886025119029199 * z;
    out[3] = -0.4886025119029199 * x;
    if (count < 9) return;
    out[4] = 1.0925484305920792 * x * y;
    out[5] = -1.0925484305920792 * y * z;
    out[6] = 0.31539156525252005 * (2 * zz - xx - yy);
    out[7] = -1.0925484305920792 * x * z;
    out[8] = 0.5462742152960396 * (xx - yy);
    if (count < 16) return;
    out[9] = -0.5900435899266435 * y * (3 * xx - yy);
    out[10] = 2.890611442640554 * x * y * z;
    out[11] = -0.4570457994644658 * y * (4 * zz - xx - yy);
    out[12] = 0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy);
    out[13] = -0.4570457994644658 * x * (4 * zz - xx - yy);
    out[14] = 1.445305721320277 * z * (xx - yy);
    out[15] = -0.5900435899266435 * x * (xx - 3 * yy);
}

/* Gradient of the direction, from the gradients g of the basis functions. */
static void sh_basis_backward(int64_t count, const double d[3], const double *g, double out[3]) {
    const double x = d[0], y = d[1], z = d[2], xx = x * x, yy = y * y, zz = z * z;
    double gx = 0, gy = 0, gz = 0;
    if (count >= 4) {
        gy += -0.4886025119029199 * g[1];
        gz += 0.4886025119029199 * g[2];
        gx += -0.4886025119029199 * g[3];
    }
    if (count >= 9) {
        const double c = 1.0925484305920792, e = 0.31539156525252005;
        gx += c * (y * g[4] - z * g[7] + x * g[8]) - 2 * e * x * g[6];
        gy += c * (x * g[4] - z * g[5] - y * g[8]) - 2 * e * y * g[6];
        gz += -c * (y * g[5] + x * g[7]) + 4 * e * z * g[6];
    }
    if (count >= 16) {
        const double c0 = -0.5900435899266435, c1 = 2.890611442640554, c2 = -0.4570457994644658;
        const double c3 = 0.3731763325901154, c5 = 1.445305721320277;
        gx += c0 * (6 * x * y * g[9] + 3 * (xx - yy) * g[15]) + c1 * y * z * g[10] - 2 * c2 * x * y * g[11]
            - 6 * c3 * x * z * g[12] + c2 * (4 * zz - 3 * xx - yy) * g[13] + 2 * c5 * x * z * g[14];
        gy += c0 * (3 * (xx - yy) * g[9] - 6 * x * y * g[15]) + c1 * x * z * g[10]
            + c2 * (4 * zz - xx - 3 * yy) * g[11] - 6 * c3 * y * z * g[12] - 2 * c2 * x * y * g[13]
            - 2 * c5 * y * z * g[14];
        gz += c1 * x * y * g[10] + 8 * c2 * z * (y * g[11] + x * g[13])
            + 3 * c3 * (2 * zz - xx - yy) * g[12] + c5 * (xx - yy) * g[14];
    }
    out[0] = gx, out[1] = gy, out[2] = gz;
}

/* Fills s and r; false where the splat is not visible in view v (then s and r are not complete). */
static int project(const Raster *args, int64_t v, int64_t n, Splat *s, Record *r) {
    const int64_t dims = args->dims;
    const float *mean = args->means + n * dims, *cov = args->covariances + n * dims * dims;
    const float *pose = args->poses + v * 16;
    s->opacity = args->opacities[n];
    s->time_step = 0;
    for (int i = 0; i < 3; i++) {
        s->mean[i] = mean[i];
        for (int j = 0; j < 3; j++) s->cov[i][j] = 0.5 * ((double)cov[i * dims + j] + cov[j * dims + i]);
    }
    if (dims == 4) {
        const double apart = (double)args->times[v] - mean[3], variance = cov[15];
        const double dt = args->cyclic ? apart - rint(apart) : apart; /* the shorter way round a loop */
        s->time_step = dt, s->variance = variance;
        s->marginal = exp(-0.5 * dt * dt / variance);
        if (!(s->marginal >= MARGINAL_CUT)) return 0;
        s->opacity *= s->marginal;
        for (int i = 0; i < 3; i++) s->cross[i] = 0.5 * ((double)cov[i * 4 + 3] + cov[12 + i]);
        for (int i = 0; i < 3; i++) {
            s->mean[i] += s->cross[i] / variance * dt;
            for (int j = 0; j < 3; j++) s->cov[i][j] -= s->cross[i] * s->cross[j] / variance;
        }
    }
    if (!(s->opacity > 0)) return 0;

    double centre[3];
    for (int i = 0; i < 3; i++) {
        const float *row = pose + 4 * i;
        s->cam[i] = row[0] * s->mean[0] + row[1] * s->mean[1] + row[2] * s->mean[2] + row[3];
        centre[i] = 0;
        for (int j = 0; j < 3; j++) centre[i] -= (double)pose[4 * j + i] * pose[4 * j + 3];
    }
    const double z = s->cam[2], f = args->focals[v];
    if (!(z > NEAR_PLANE)) return 0;
    const double half_x = args->width * 0.5, half_y = args->height * 0.5;
    const double lim_x = JACOBIAN_MARGIN * half_x / f, lim_y = JACOBIAN_MARGIN * half_y / f;
    s->focal = f;
    s->sx = fmin(fmax(s->cam[0] / z, -lim_x), lim_x);
    s->sy = fmin(fmax(s->cam[1] / z, -lim_y), lim_y);
    double m[2][3];
    for (int j = 0; j < 3; j++) {
        s->to_screen[0][j] = f / z * (pose[j] - s->sx * pose[8 + j]);
        s->to_screen[1][j] = f / z * (pose[4 + j] - s->sy * pose[8 + j]);
    }
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 3; j++)
            m[i][j] = s->to_screen[i][0] * s->cov[0][j] + s->to_screen[i][1] * s->cov[1][j]
                    + s->to_screen[i][2] * s->cov[2][j];
    s->a = s->b = s->c = 0;
    for (int j = 0; j < 3; j++) {
        s->a += m[0][j] * s->to_screen[0][j];
        s->b += m[0][j] * s->to_screen[1][j];
        s->c += m[1][j] * s->to_screen[1][j];
    }
    s->det = s->a * s->c - s->b * s->b;
    s->low_a = s->a + LOW_PASS, s->low_c = s->c + LOW_PASS;
    s->low_det = s->low_a * s->low_c - s->b * s->b;
    if (!(s->low_det > 0 && s->low_a > 0 && s->low_det < 1e30)) return 0;
    s->compensation = 1;
    s->ratio = s->det / s->low_det;
    if (args->antialias) s->compensation = sqrt(fmax(s->ratio, COMPENSATION_MIN));

    const double opacity = s->opacity * s->compensation, reach = 2 * log(opacity / ALPHA_MIN);
    if (!(reach >= 0)) return 0;
    const double x = f * s->cam[0] / z + half_x, y = f * s->cam[1] / z + half_y;
    const double ex = sqrt(reach * s->low_a), ey = sqrt(reach * s->low_c);
    const double x0 = ceil(x - ex - 0.5), x1 = floor(x + ex - 0.5);
    const double y0 = ceil(y - ey - 0.5), y1 = floor(y + ey - 0.5);
    if (!(x0 <= x1 && y0 <= y1 && x0 < args->width && y0 < args->height && x1 >= 0 && y1 >= 0)) return 0;

    s->distance = 0;
    for (int i = 0; i < 3; i++) {
        s->direction[i] = s->mean[i] - centre[i];
        s->distance += s->direction[i] * s->direction[i];
    }
    s->distance = fmax(sqrt(s->distance), 1e-12);
    for (int i = 0; i < 3; i++) s->direction[i] /= s->distance;
    sh_basis(args->harmonics, s->direction, s->basis);
    s->raw[0] = s->raw[1] = s->raw[2] = 0.5;
    const float *sh = args->sh + n * args->harmonics * args->fourier * 3;
    for (int64_t k = 0; k < args->fourier; k++) {
        const double wave = k ? cos(2 * M_PI / args->period * k * s->time_step) : 1;
        for (int64_t j = 0; j < args->harmonics; j++)
            for (int c = 0; c < 3; c++)
                s->raw[c] += wave * s->basis[j] * sh[(j * args->fourier + k) * 3 + c];
    }
    r->x = (float)x, r->y = (float)y;
    r->l1 = (float)sqrt(0.5 * s->low_c / s->low_det);
    r->l2 = (float)(-s->b / sqrt(2 * s->low_c * s->low_det));
    r->k = (float)(0.5 / s->low_c);
    r->opacity = (float)opacity, r->limit = (float)(0.5 * reach);
    r->r = (float)fmax(s->raw[0], 0), r->g = (float)fmax(s->raw[1], 0), r->b = (float)fmax(s->raw[2], 0);
    r->depth = (float)z;
    r->extent_x = (float)ex, r->extent_y = (float)ey;
    return 1;
}

/* Gradients of a record's values. The conic is that of d = a dx^2 + 2 b dx dy + c dy^2. */
typedef struct {
    double x, y, conic_a, conic_b, conic_c, opacity, color[3], depth;
} RecordGradient;

/* Sums over the views of one splat. */
typedef struct {
    double mean[4], cov[4][4], opacity;
} SplatGradient;

static void project_backward(
    const Raster *args, int64_t v, int64_t n, const Splat *s, const RecordGradient *g, SplatGradient *out,
    float *g_sh
) {
    const float *pose = args->poses + v * 16;
    const double f = s->focal, z = s->cam[2], iz = 1 / z;

    /* Conic, the inverse Q of the 2D covariance: dL/dS = -Q G Q. */
    const double q0 = s->low_c / s->low_det, q1 = -s->b / s->low_det, q2 = s->low_a / s->low_det;
    const double g0 = g->conic_a, g1 = 0.5 * g->conic_b, g2 = g->conic_c;
    const double t00 = q0 * g0 + q1 * g1, t01 = q0 * g1 + q1 * g2;
    const double t10 = q1 * g0 + q2 * g1, t11 = q1 * g1 + q2 * g2;
    double ga = -(t00 * q0 + t01 * q1), gb = -(t00 * q1 + t01 * q2), gc = -(t10 * q1 + t11 * q2);
    double g_opacity = g->opacity * s->compensation;
    if (args->antialias && s->ratio >= COMPENSATION_MIN) {
        const double gr = g->opacity * s->opacity * 0.5 / s->compensation / s->low_det;
        ga += gr * (s->c - s->ratio * s->low_c);
        gc += gr * (s->a - s->ratio * s->low_a);
        gb += gr * -s->b * (1 - s->ratio); /* half of d/db: b stands twice in the matrix */
    }

    /* 2D covariance = M S M^T, M = J R. */
    double g_cov[3][3], g_m[2][3], half[2][3], g_j[2][3], g_cam[3];
    for (int i = 0; i < 3; i++) {
        half[0][i] = ga * s->to_screen[0][i] + gb * s->to_screen[1][i];
        half[1][i] = gb * s->to_screen[0][i] + gc * s->to_screen[1][i];
    }
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) {
            g_cov[i][j] = s->to_screen[0][i] * half[0][j] + s->to_screen[1][i] * half[1][j];
        }
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 3; j++)
            g_m[i][j] = 2 * (half[i][0] * s->cov[0][j] + half[i][1] * s->cov[1][j]
                             + half[i][2] * s->cov[2][j]);
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 3; j++) {
            const float *row = pose + 4 * j;
            g_j[i][j] = g_m[i][0] * row[0] + g_m[i][1] * row[1] + g_m[i][2] * row[2];
        }
    const double f_iz = f * iz;
    g_cam[0] = g->x * f_iz;
    g_cam[1] = g->y * f_iz;
    g_cam[2] = g->depth - f_iz * iz * (g->x * s->cam[0] + g->y * s->cam[1]);
    g_cam[2] += f_iz * iz * (-g_j[0][0] - g_j[1][1] + g_j[0][2] * s->sx + g_j[1][2] * s->sy);
    const double raw_x = s->cam[0] / z, raw_y = s->cam[1] / z;
    if (raw_x == s->sx) {
        g_cam[0] -= g_j[0][2] * f_iz * iz;
        g_cam[2] += g_j[0][2] * f_iz * iz * raw_x;
    }
    if (raw_y == s->sy) {
        g_cam[1] -= g_j[1][2] * f_iz * iz;
        g_cam[2] += g_j[1][2] * f_iz * iz * raw_y;
    }
    double g_mean[3];
    for (int j = 0; j < 3; j++)
        g_mean[j] = pose[j] * g_cam[0] + pose[4 + j] * g_cam[1] + pose[8 + j] * g_cam[2];

    /* Color. */
    double g_color[3], g_basis[16] = {0}, g_direction[3], g_time = 0;
    for (int c = 0; c < 3; c++) g_color[c] = s->raw[c] >= 0 ? g->color[c] : 0;
    const float *sh = args->sh + n * args->harmonics * args->fourier * 3;
    for (int64_t k = 0; k < args->fourier; k++) {
        const double frequency = 2 * M_PI / args->period * k;
        const double wave = k ? cos(frequency * s->time_step) : 1;
        const double slope = k ? -frequency * sin(frequency * s->time_step) : 0;
        for (int64_t j = 0; j < args->harmonics; j++) {
            const int64_t at = (j * args->fourier + k) * 3;
            double along = 0;
            for (int c = 0; c < 3; c++) {
                along += sh[at + c] * g_color[c];
                g_sh[at + c] += (float)(wave * s->basis[j] * g_color[c]);
            }
            g_basis[j] += wave * along;
            g_time += slope * s->basis[j] * along;
        }
    }
    if (args->harmonics > 1) {
        sh_basis_backward(args->harmonics, s->direction, g_basis, g_direction);
        double radial = 0;
        for (int i = 0; i < 3; i++) radial += s->direction[i] * g_direction[i];
        for (int i = 0; i < 3; i++) g_mean[i] += (g_direction[i] - s->direction[i] * radial) / s->distance;
    }

    /* Slice in time. */
    if (args->dims == 4) {
        const double dt = s->time_step, iv = 1 / s->variance, g_marginal = g_opacity * s->opacity;
        double g_variance = g_marginal * 0.5 * dt * dt * iv * iv;
        g_time -= g_marginal * dt * iv;
        g_opacity *= s->marginal;
        for (int i = 0; i < 3; i++) {
            double g_cross = g_mean[i] * dt * iv;
            g_time += s->cross[i] * iv * g_mean[i];
            g_variance -= g_mean[i] * dt * s->cross[i] * iv * iv;
            for (int j = 0; j < 3; j++) {
                g_cross -= 2 * g_cov[i][j] * s->cross[j] * iv;
                g_variance += g_cov[i][j] * s->cross[i] * s->cross[j] * iv * iv;
            }
            out->cov[i][3] += 0.5 * g_cross;
            out->cov[3][i] += 0.5 * g_cross;
        }
        out->cov[3][3] += g_variance;
        out->mean[3] -= g_time;
    }
    for (int i = 0; i < 3; i++) {
        out->mean[i] += g_mean[i];
        for (int j = 0; j < 3; j++) out->cov[i][j] += g_cov[i][j];
    }
    out->opacity += g_opacity;
}

#endif
