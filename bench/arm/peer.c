/* The defence in plain C, as one would write it for a compiler to vectorise: what the kernels are measured against.
 *
 * The float DCT of Arai, Agui and Nakajima ("A fast DCT-SQ scheme for images", Trans. IEICE E-71, 1988) over eight
 * columns at a time, a transposition between the two directions, scale factors folded into the table, then a gather.
 * One channel of one block after the other: 8x8 floats stay in the first-level cache.
 */
#include <math.h>
#include <stdint.h>

/* Forward DCT of every column, `in` and `out` [row][column]. */
static inline void forward(const float *restrict in, float *restrict out)
{
    for (int i = 0; i < 8; i++) {
        const float s0 = in[i] + in[56 + i], d0 = in[i] - in[56 + i];
        const float s1 = in[8 + i] + in[48 + i], d1 = in[8 + i] - in[48 + i];
        const float s2 = in[16 + i] + in[40 + i], d2 = in[16 + i] - in[40 + i];
        const float s3 = in[24 + i] + in[32 + i], d3 = in[24 + i] - in[32 + i];

        const float e0 = s0 + s3, f0 = s0 - s3, e1 = s1 + s2, f1 = s1 - s2;
        const float g = (f1 + f0) * 0.70710678f;
        out[i] = e0 + e1;
        out[32 + i] = e0 - e1;
        out[16 + i] = f0 + g;
        out[48 + i] = f0 - g;

        const float p = d3 + d2, q = (d2 + d1) * 0.70710678f, r = d1 + d0;
        const float z = (p - r) * 0.38268343f;
        const float a = 0.54119610f * p + z, b = 1.30656296f * r + z;
        const float u = d0 + q, v = d0 - q;
        out[40 + i] = v + a;
        out[24 + i] = v - a;
        out[8 + i] = u + b;
        out[56 + i] = u - b;
    }
}

/* Inverse DCT of every column, `in` and `out` [row][column]. */
static inline void inverse(const float *restrict in, float *restrict out)
{
    for (int i = 0; i < 8; i++) {
        const float e0 = in[i] + in[32 + i], e1 = in[i] - in[32 + i];
        const float f0 = in[16 + i] + in[48 + i], f1 = (in[16 + i] - in[48 + i]) * 1.41421356f - f0;
        const float s0 = e0 + f0, s3 = e0 - f0, s1 = e1 + f1, s2 = e1 - f1;

        const float a = in[40 + i] + in[24 + i], b = in[40 + i] - in[24 + i];
        const float c = in[8 + i] + in[56 + i], d = in[8 + i] - in[56 + i];
        const float t7 = c + a, t = (c - a) * 1.41421356f;
        const float z = (b + d) * 1.84775907f;
        const float t6 = z - b * 2.61312593f - t7;
        const float t5 = t - t6;
        const float t4 = z - d * 1.08239220f - t5;
        out[i] = s0 + t7;
        out[56 + i] = s0 - t7;
        out[8 + i] = s1 + t6;
        out[48 + i] = s1 - t6;
        out[16 + i] = s2 + t5;
        out[40 + i] = s2 - t5;
        out[24 + i] = s3 + t4;
        out[32 + i] = s3 - t4;
    }
}

static inline void transpose(const float *restrict in, float *restrict out)
{
    for (int y = 0; y < 8; y++)
        for (int x = 0; x < 8; x++)
            out[8 * x + y] = in[8 * y + x];
}

/* One channel of one block, pixels to pixels. `reciprocal` and `step` are [horizontal][vertical] frequency. */
static inline void block(const uint8_t *restrict from, long from_pitch, uint8_t *restrict to, long to_pitch,
                         const float *restrict reciprocal, const float *restrict step)
{
    float a[64], b[64];

    for (int y = 0; y < 8; y++)
        for (int x = 0; x < 8; x++)
            a[8 * y + x] = from[y * from_pitch + 3 * x];
    forward(a, b);
    transpose(b, a);
    forward(a, b);
    for (int i = 0; i < 64; i++)
        b[i] = rintf(b[i] * reciprocal[i]) * step[i];
    inverse(b, a);
    transpose(a, b);
    inverse(b, a);
    for (int y = 0; y < 8; y++)
        for (int x = 0; x < 8; x++) {
            const float level = rintf(a[8 * y + x]);
            to[y * to_pitch + 3 * x] = (uint8_t)(level < 0.f ? 0.f : level > 255.f ? 255.f : level);
        }
}

/* `image` is [height][width][3]; `decoded` has both sides rounded up to a multiple of 8; `out` is [height][width][3]
 * and takes its pixel (y, x) from (rows[y], cols[x]). */
void defend_c(const uint8_t *restrict image, long height, long width, const float *restrict reciprocal,
              const float *restrict step, const int32_t *restrict rows, const int32_t *restrict cols,
              uint8_t *restrict decoded, uint8_t *restrict out)
{
    const long wide = (width + 7) & ~7L;
    uint8_t edge[192];

    for (long top = 0; top < height; top += 8)
        for (long left = 0; left < width; left += 8) {
            const uint8_t *from = image + 3 * (top * width + left);
            long pitch = 3 * width;
            if (top + 8 > height || left + 8 > width) {
                for (long y = 0; y < 8; y++)
                    for (long x = 0; x < 8; x++) {
                        const long row = top + y < height ? top + y : height - 1;
                        const long column = left + x < width ? left + x : width - 1;
                        for (int k = 0; k < 3; k++)
                            edge[24 * y + 3 * x + k] = image[3 * (row * width + column) + k];
                    }
                from = edge;
                pitch = 24;
            }
            for (int k = 0; k < 3; k++)
                block(from + k, pitch, decoded + 3 * (top * wide + left) + k, 3 * wide, reciprocal, step);
        }
    for (long y = 0; y < height; y++) {
        const uint8_t *from = decoded + 3 * wide * rows[y];
        for (long x = 0; x < width; x++)
            for (int k = 0; k < 3; k++)
                out[3 * (y * width + x) + k] = from[3 * cols[x] + k];
    }
}
