// y [1] = Σ x² in fp64, x dense of any shape.
#include "blocks.h"

namespace vin::cpu::VIN_CPU_ISA {

vin_status sum_squares(vin_stream* stream, const vin_sum_squares_args* args) {
    const vin_tensor &y = args->y, &x = args->x;
    if (vin_status status = expect_typed("y", y, VIN_DTYPE_F64, VIN_DENSE, 1)) return status;
    if (vin_status status = expect_like("x", x, VIN_DENSE, x)) return status;
    constexpr int64_t BLOCK = 16384;
    const int64_t n = count(x);
    return sum_blocks(stream, (n + BLOCK - 1) / BLOCK, f64(y), [&](int64_t block) {
        const float* from = f32(x) + block * BLOCK;
        const int64_t size = min(BLOCK, n - block * BLOCK);
        double lane[8] = {};  // independent chains: one alone would wait for each addition
        int64_t i = 0;
        for (; i + 8 <= size; i += 8)
            for (int k = 0; k < 8; k++) lane[k] += (double)from[i + k] * from[i + k];
        for (; i < size; i++) lane[0] += (double)from[i] * from[i];
        return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
    });
}

}  // namespace vin::cpu::VIN_CPU_ISA
