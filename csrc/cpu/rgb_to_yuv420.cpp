// Planar I420 of an RGB picture [h, w, 3] whose pixels are repeated s × s times. BT.601 limited range, 8 bit:
//   Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255, Cb = 128 + (−37.797 R − 74.203 G + 112 B) / 255, Cr = 128 + (112
//   R − 93.786 G − 18.214 B) / 255,
// chroma from the mean of 2 × 2 pixels, rounded once. y holds H · W luma bytes, then H/2 · W/2 of Cb and of Cr, H = h
// s, W = w s.
#include "check.h"

namespace vin {
namespace cpu {
namespace VIN_CPU_ISA {

// All values lie in 16 … 240, so that rounding is adding ½.
static inline uint8_t rounded(double x) { return (uint8_t)(int32_t)(x + 0.5); }

vin_status rgb_to_yuv420(vin_stream* stream, const vin_rgb_to_yuv420_args* args) {
    const vin_tensor &y = args->y, &x = args->x;
    const int64_t s = args->enlarge;
    if (s < 1)
        return vin_cpu_fail(VIN_INVALID, "rgb_to_yuv420: expected enlarge of at least 1, found %d", (int)args->enlarge);
    if (vin_status status = expect("rgb_to_yuv420", "x", x, VIN_DTYPE_U8, VIN_DENSE, -1, -1, 3)) return status;
    const int64_t height = x.shape[0] * s, width = x.shape[1] * s, row_bytes = x.shape[1] * 3;
    if (height % 2 || width % 2)
        return vin_cpu_fail(VIN_INVALID, "rgb_to_yuv420: expected even sizes, found %lld × %lld", (long long)height,
                            (long long)width);
    if (vin_status status = expect("rgb_to_yuv420", "y", y, VIN_DTYPE_U8, VIN_DENSE, height * width * 3 / 2))
        return status;
    const uint8_t* rgb = (const uint8_t*)x.data;
    uint8_t *luma = (uint8_t*)y.data, *cb = luma + height * width, *cr = cb + height * width / 4;
    parallel_rows(stream, height / 2, 16 * width, [&](int64_t begin, int64_t end) {
        for (int64_t pair = begin; pair < end; pair++) {
            for (int64_t row = 2 * pair; row < 2 * pair + 2; row++)
                for (int64_t w = 0; w < width; w++) {
                    const uint8_t* p = rgb + row / s * row_bytes + w / s * 3;
                    luma[row * width + w] = rounded(16 + (65.481 * p[0] + 128.553 * p[1] + 24.966 * p[2]) / 255);
                }
            for (int64_t w = 0; w < width; w += 2) {
                int32_t total[3] = {};
                for (int64_t k = 0; k < 4; k++) {
                    const uint8_t* p = rgb + (2 * pair + k / 2) / s * row_bytes + (w + k % 2) / s * 3;
                    for (int c = 0; c < 3; c++) total[c] += p[c];
                }
                const double r = total[0] / 4., g = total[1] / 4., b = total[2] / 4.;
                cb[pair * width / 2 + w / 2] = rounded(128 + (-37.797 * r - 74.203 * g + 112 * b) / 255);
                cr[pair * width / 2 + w / 2] = rounded(128 + (112 * r - 93.786 * g - 18.214 * b) / 255);
            }
        }
    });
    return VIN_OK;
}

}  // namespace VIN_CPU_ISA
}  // namespace cpu
}  // namespace vin
