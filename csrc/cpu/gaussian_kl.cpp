// loss += scale · ½ Σ (mean² + exp(logvar) − 1 − logvar), sums in fp64.
#include "blocks.h"
#include "moments.h"

namespace vin::cpu::VIN_CPU_ISA {

vin_status gaussian_kl(vin_stream* stream, const vin_gaussian_kl_args* args) {
    const vin_tensor &loss = args->loss, &moments = args->moments;
    int64_t R = 0, C = 0;
    if (vin_status status = expect_moments(moments, R, C)) return status;
    if (vin_status status = expect_typed("loss", loss, VIN_DTYPE_F64, VIN_DENSE, 1)) return status;
    const int64_t rows = max(1, 2048 / max(1, C));  // rows of a block
    double total;
    const vin_status status = sum_blocks(stream, (R + rows - 1) / rows, &total, [&](int64_t block) {
        double sum = 0;
        for (int64_t r = block * rows; r < min(R, (block + 1) * rows); r++) {
            const float* mean = at(moments, r);
            for (int64_t c = 0; c < C; c++) {
                const double logvar = clamp_logvar(mean[C + c]);
                sum += (double)mean[c] * mean[c] + ::exp(logvar) - 1 - logvar;
            }
        }
        return sum;
    });
    if (status == VIN_OK) *f64(loss) += args->scale * 0.5 * total;
    return status;
}

}  // namespace vin::cpu::VIN_CPU_ISA
