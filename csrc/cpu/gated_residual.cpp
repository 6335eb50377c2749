// y = residual + gate[group] · x, rows of [R, C]; gate [groups, C].
#include "check.h"
#include "rows.h"

namespace vin {
namespace cpu {
namespace VIN_CPU_ISA {

vin_status gated_residual(vin_stream* stream, const vin_gated_residual_args* args) {
    const vin_tensor &y = args->y, &x = args->x, &gate = args->gate, &group = args->group, &residual = args->residual;
    if (vin_status status = expect("gated_residual", "x", x, VIN_DTYPE_F32, VIN_ROWS, -1, -1)) return status;
    const int64_t R = x.shape[0], C = x.shape[1];
    if (vin_status status = expect("gated_residual", "y", y, VIN_DTYPE_F32, VIN_ROWS, R, C)) return status;
    if (vin_status status = expect("gated_residual", "residual", residual, VIN_DTYPE_F32, VIN_ROWS, R, C))
        return status;
    if (vin_status status = expect("gated_residual", "gate", gate, VIN_DTYPE_F32, VIN_ROWS, -1, C)) return status;
    if (vin_status status = expect_group("gated_residual", group, R, gate.shape[0])) return status;
    parallel_rows(stream, R, C, [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; r++) {
            float* to = f32(y) + r * y.stride[0];
            const float *from = f32(x) + r * x.stride[0], *base = f32(residual) + r * residual.stride[0],
                        *factor = group_row(gate, group, r);
            for (int64_t c = 0; c < C; c += W)
                store_up_to(to + c,
                            load_up_to(base + c, C - c) + load_up_to(factor + c, C - c) * load_up_to(from + c, C - c),
                            C - c);
        }
    });
    return VIN_OK;
}

}  // namespace VIN_CPU_ISA
}  // namespace cpu
}  // namespace vin
