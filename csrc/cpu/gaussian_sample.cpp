// y [R, C] = mean + exp(½ logvar) · noise
#include "moments.h"

namespace vin {
namespace cpu {
namespace VIN_CPU_ISA {

vin_status gaussian_sample(vin_stream* stream, const vin_gaussian_sample_args* args) {
    const vin_tensor &y = args->y, &moments = args->moments, &noise = args->noise;
    int64_t R = 0, C = 0;
    if (vin_status status = expect_moments("gaussian_sample", moments, R, C)) return status;
    if (vin_status status = expect("gaussian_sample", "y", y, VIN_DTYPE_F32, VIN_ROWS, R, C)) return status;
    if (vin_status status = expect("gaussian_sample", "noise", noise, VIN_DTYPE_F32, VIN_ROWS, R, C)) return status;
    parallel_rows(stream, R, 50 * C, [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; r++) {
            const float *mean = f32(moments) + r * moments.stride[0], *logvar = mean + C,
                        *normal = f32(noise) + r * noise.stride[0];
            for (int64_t c = 0; c < C; c++)
                f32(y)[r * y.stride[0] + c] = (float)(mean[c] + ::exp(0.5 * clamp_logvar(logvar[c])) * normal[c]);
        }
    });
    return VIN_OK;
}

}  // namespace VIN_CPU_ISA
}  // namespace cpu
}  // namespace vin
