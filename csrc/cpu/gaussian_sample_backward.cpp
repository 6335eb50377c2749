// dmoments [R, 2C] = (dy, dy · noise · ½ exp(½ logvar)), the second half 0 where the clamp holds logvar.
#include "moments.h"

namespace vin {
namespace cpu {
namespace VIN_CPU_ISA {

vin_status gaussian_sample_backward(vin_stream* stream, const vin_gaussian_sample_backward_args* args) {
    static const char op[] = "gaussian_sample_backward";
    const vin_tensor &dmoments = args->dmoments, &dy = args->dy, &moments = args->moments, &noise = args->noise;
    int64_t R = 0, C = 0;
    if (vin_status status = expect_moments(op, moments, R, C)) return status;
    if (vin_status status = expect(op, "dmoments", dmoments, VIN_DTYPE_F32, VIN_ROWS, R, 2 * C)) return status;
    if (vin_status status = expect(op, "dy", dy, VIN_DTYPE_F32, VIN_ROWS, R, C)) return status;
    if (vin_status status = expect(op, "noise", noise, VIN_DTYPE_F32, VIN_ROWS, R, C)) return status;
    parallel_rows(stream, R, 50 * C, [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; r++) {
            const float *logvar = f32(moments) + r * moments.stride[0] + C, *g = f32(dy) + r * dy.stride[0],
                        *normal = f32(noise) + r * noise.stride[0];
            float* to = f32(dmoments) + r * dmoments.stride[0];
            for (int64_t c = 0; c < C; c++) {
                const double slope = clamp_slope(logvar[c]) * 0.5 * ::exp(0.5 * clamp_logvar(logvar[c]));
                to[c] = g[c];
                to[C + c] = (float)(slope * g[c] * normal[c]);
            }
        }
    });
    return VIN_OK;
}

}  // namespace VIN_CPU_ISA
}  // namespace cpu
}  // namespace vin
