// dmoments [R, 2C] = scale · (mean, ½ (exp(logvar) − 1)), the second half 0 where the clamp holds logvar.
#include "moments.h"

namespace vin::cpu::VIN_CPU_ISA {

vin_status gaussian_kl_backward(vin_stream* stream, const vin_gaussian_kl_backward_args* args) {
    const vin_tensor &dmoments = args->dmoments, &moments = args->moments;
    int64_t R = 0, C = 0;
    if (vin_status status = expect_moments(moments, R, C)) return status;
    if (vin_status status = expect("dmoments", dmoments, VIN_ROWS, R, 2 * C)) return status;
    each_row(stream, R, 50 * C, [&](int64_t r) {
        const float *mean = at(moments, r), *logvar = mean + C;
        float* to = at(dmoments, r);
        for (int64_t c = 0; c < C; c++) {
            const double slope = clamp_slope(logvar[c]) * 0.5 * (::exp(clamp_logvar(logvar[c])) - 1);
            to[c] = (float)(args->scale * mean[c]);
            to[C + c] = (float)(args->scale * slope);
        }
    });
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
