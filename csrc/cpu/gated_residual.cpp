// y = residual + gate[group] · x, rows of [R, C]; gate [groups, C].
#include "check.h"
#include "rows.h"

namespace vin::cpu::VIN_CPU_ISA {

vin_status gated_residual(vin_stream* stream, const vin_gated_residual_args* args) {
    const vin_tensor &y = args->y, &x = args->x, &gate = args->gate, &group = args->group, &residual = args->residual;
    if (vin_status status = expect("x", x, VIN_ROWS, -1, -1)) return status;
    const int64_t R = x.shape[0], C = x.shape[1];
    if (vin_status status = expect("y", y, VIN_ROWS, R, C)) return status;
    if (vin_status status = expect("residual", residual, VIN_ROWS, R, C)) return status;
    if (vin_status status = expect("gate", gate, VIN_ROWS, -1, C)) return status;
    if (vin_status status = expect_group(group, R, gate.shape[0])) return status;
    each_row(stream, R, C, [&](int64_t r) {
        float* to = at(y, r);
        const float *from = at(x, r), *base = at(residual, r), *factor = group_row(gate, group, r);
        for (int64_t c = 0; c < C; c += W)
            store_up_to(to + c,
                        load_up_to(base + c, C - c) + load_up_to(factor + c, C - c) * load_up_to(from + c, C - c),
                        C - c);
    });
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
