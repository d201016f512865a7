/* The defence with libjpeg-turbo's own NEON functions: its 16-bit forward DCT, quantiser and inverse DCT, no
 * entropy coding. Planes are split and joined as its colour converters do, eight rows at a time. */
#define JPEG_INTERNALS
#include "jinclude.h"
#include "jpeglib.h"
#include "jdct.h"
#include <stdint.h>

void jsimd_convsamp_neon(JSAMPARRAY rows, JDIMENSION column, DCTELEM *workspace);
void jsimd_fdct_islow_neon(DCTELEM *workspace);
void jsimd_quantize_neon(JCOEFPTR coefficients, DCTELEM *divisors, DCTELEM *workspace);
void jsimd_idct_islow_neon(void *table, JCOEFPTR coefficients, JSAMPARRAY rows, JDIMENSION column);

static void split(const uint8_t *restrict from, long width, long wide, uint8_t *restrict red,
                  uint8_t *restrict green, uint8_t *restrict blue)
{
    for (long x = 0; x < width; x++) {
        red[x] = from[3 * x];
        green[x] = from[3 * x + 1];
        blue[x] = from[3 * x + 2];
    }
    for (long x = width; x < wide; x++) {
        red[x] = red[width - 1];
        green[x] = green[width - 1];
        blue[x] = blue[width - 1];
    }
}

/* `planes` is [3][height][width] with both sides rounded up to a multiple of 8; the rest as in peer.c. */
void defend_libjpeg(const uint8_t *restrict image, long height, long width, DCTELEM *divisors, DCTELEM *table,
                    const int32_t *restrict rows, const int32_t *restrict cols, uint8_t *restrict planes,
                    uint8_t *restrict out)
{
    const long wide = (width + 7) & ~7L, high = (height + 7) & ~7L;
    DCTELEM workspace[64];
    JCOEF coefficients[64];

    for (long top = 0; top < height; top += 8) {
        for (long y = top; y < top + 8; y++) {
            uint8_t *at = planes + wide * y;
            split(image + 3 * width * (y < height ? y : height - 1), width, wide, at, at + wide * high,
                  at + 2 * wide * high);
        }
        for (int k = 0; k < 3; k++) {
            JSAMPROW block_rows[8];
            for (long y = 0; y < 8; y++)
                block_rows[y] = planes + wide * (k * high + top + y);
            for (long left = 0; left < wide; left += 8) {
                jsimd_convsamp_neon(block_rows, (JDIMENSION)left, workspace);
                jsimd_fdct_islow_neon(workspace);
                jsimd_quantize_neon(coefficients, divisors, workspace);
                jsimd_idct_islow_neon(table, coefficients, block_rows, (JDIMENSION)left);
            }
        }
    }
    for (long y = 0; y < height; y++) {
        const uint8_t *red = planes + wide * rows[y], *green = red + wide * high, *blue = green + wide * high;
        for (long x = 0; x < width; x++) {
            out[3 * (y * width + x)] = red[cols[x]];
            out[3 * (y * width + x) + 1] = green[cols[x]];
            out[3 * (y * width + x) + 2] = blue[cols[x]];
        }
    }
}
