// y [R, C] = mean + exp(½ logvar) · noise
#include "moments.h"

namespace vin::cpu::VIN_CPU_ISA {

vin_status gaussian_sample(vin_stream* stream, const vin_gaussian_sample_args* args) {
    const vin_tensor &y = args->y, &moments = args->moments, &noise = args->noise;
    int64_t R = 0, C = 0;
    if (vin_status status = expect_moments(moments, R, C)) return status;
    if (vin_status status = expect("y", y, VIN_ROWS, R, C)) return status;
    if (vin_status status = expect("noise", noise, VIN_ROWS, R, C)) return status;
    each_row(stream, R, 50 * C, [&](int64_t r) {
        const float *mean = at(moments, r), *logvar = mean + C, *normal = at(noise, r);
        for (int64_t c = 0; c < C; c++)
            at(y, r)[c] = (float)(mean[c] + ::exp(0.5 * clamp_logvar(logvar[c])) * normal[c]);
    });
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
