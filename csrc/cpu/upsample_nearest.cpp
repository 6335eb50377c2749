// y [T, 2H, 2W, C] from x [T, H, W, C]: every pixel becomes 2 × 2 of them.
#include "check.h"

namespace vin::cpu::VIN_CPU_ISA {

vin_status upsample_nearest(vin_stream* stream, const vin_upsample_nearest_args* args) {
    const vin_tensor &y = args->y, &x = args->x;
    if (vin_status status = expect("x", x, VIN_DENSE, -1, -1, -1, -1)) return status;
    const int64_t T = x.shape[0], height = x.shape[1], width = x.shape[2], C = x.shape[3];
    if (vin_status status = expect("y", y, VIN_DENSE, T, 2 * height, 2 * width, C)) return status;
    each_row(stream, T * height, 4 * width * C, [&](int64_t row) {
        float* first = f32(y) + row * 4 * width * C;
        for (int64_t w = 0; w < width; w++) {
            const float* from = f32(x) + (row * width + w) * C;
            memcpy(first + 2 * w * C, from, (size_t)C * 4);
            memcpy(first + (2 * w + 1) * C, from, (size_t)C * 4);
        }
        memcpy(first + 2 * width * C, first, (size_t)(2 * width * C) * 4);
    });
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
