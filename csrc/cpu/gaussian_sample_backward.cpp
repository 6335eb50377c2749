// dmoments [R, 2C] = (dy, dy · noise · ½ exp(½ logvar)), the second half 0 where the clamp holds logvar.
#include "moments.h"

namespace vin::cpu::VIN_CPU_ISA {

vin_status gaussian_sample_backward(vin_stream* stream, const vin_gaussian_sample_backward_args* args) {
    const vin_tensor &dmoments = args->dmoments, &dy = args->dy, &moments = args->moments, &noise = args->noise;
    int64_t R = 0, C = 0;
    if (vin_status status = expect_moments(moments, R, C)) return status;
    if (vin_status status = expect("dmoments", dmoments, VIN_ROWS, R, 2 * C)) return status;
    if (vin_status status = expect("dy", dy, VIN_ROWS, R, C)) return status;
    if (vin_status status = expect("noise", noise, VIN_ROWS, R, C)) return status;
    each_row(stream, R, 50 * C, [&](int64_t r) {
        const float *logvar = at(moments, r) + C, *g = at(dy, r), *normal = at(noise, r);
        float* to = at(dmoments, r);
        for (int64_t c = 0; c < C; c++) {
            const double slope = clamp_slope(logvar[c]) * 0.5 * ::exp(0.5 * clamp_logvar(logvar[c]));
            to[c] = g[c];
            to[C + c] = (float)(slope * g[c] * normal[c]);
        }
    });
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
