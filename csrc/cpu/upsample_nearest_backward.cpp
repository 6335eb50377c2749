// dx [T, H, W, C] = the sum of the 2 × 2 pixels of dy [T, 2H, 2W, C] that came from each.
#include "check.h"
#include "rows.h"

namespace vin::cpu::VIN_CPU_ISA {

vin_status upsample_nearest_backward(vin_stream* stream, const vin_upsample_nearest_backward_args* args) {
    const vin_tensor &dx = args->dx, &dy = args->dy;
    if (vin_status status = expect("dx", dx, VIN_DENSE, -1, -1, -1, -1)) return status;
    const int64_t T = dx.shape[0], height = dx.shape[1], width = dx.shape[2], C = dx.shape[3], line = 2 * width * C;
    if (vin_status status = expect("dy", dy, VIN_DENSE, T, 2 * height, 2 * width, C)) return status;
    each_row(stream, T * height, 4 * width * C, [&](int64_t row) {
        for (int64_t w = 0; w < width; w++) {
            float* to = f32(dx) + (row * width + w) * C;
            const float* from = f32(dy) + row * 2 * line + 2 * w * C;
            for (int64_t c = 0; c < C; c += W) {
                const vf upper = load_up_to(from + c, C - c) + load_up_to(from + C + c, C - c);
                const vf lower = load_up_to(from + line + c, C - c) + load_up_to(from + line + C + c, C - c);
                store_up_to(to + c, upper + lower, C - c);
            }
        }
    });
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
