// loss += scale · ½ Σ (mean² + exp(logvar) − 1 − logvar), sums in fp64.
#include "blocks.h"
#include "moments.h"

namespace vin {
namespace cpu {
namespace VIN_CPU_ISA {

vin_status gaussian_kl(vin_stream* stream, const vin_gaussian_kl_args* args) {
    const vin_tensor &loss = args->loss, &moments = args->moments;
    int64_t R = 0, C = 0;
    if (vin_status status = expect_moments("gaussian_kl", moments, R, C)) return status;
    if (vin_status status = expect("gaussian_kl", "loss", loss, VIN_DTYPE_F64, VIN_DENSE, 1)) return status;
    const int64_t rows = max((int64_t)1, 2048 / max((int64_t)1, C));  // rows of a block
    double total;
    const vin_status status = sum_blocks(stream, "gaussian_kl", (R + rows - 1) / rows, &total, [&](int64_t block) {
        double sum = 0;
        for (int64_t r = block * rows; r < min(R, (block + 1) * rows); r++) {
            const float* mean = f32(moments) + r * moments.stride[0];
            for (int64_t c = 0; c < C; c++) {
                const double logvar = clamp_logvar(mean[C + c]);
                sum += (double)mean[c] * mean[c] + ::exp(logvar) - 1 - logvar;
            }
        }
        return sum;
    });
    if (status == VIN_OK) *(double*)loss.data += args->scale * 0.5 * total;
    return status;
}

}  // namespace VIN_CPU_ISA
}  // namespace cpu
}  // namespace vin
