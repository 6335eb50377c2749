// dx = gate[group] · dy; dgate[g] = Σ over the rows of group g of dy · x. The residual's gradient is dy itself.
#include "check.h"
#include "column_sums.h"

namespace vin::cpu::VIN_CPU_ISA {

vin_status gated_residual_backward(vin_stream* stream, const vin_gated_residual_backward_args* args) {
    const vin_tensor &dx = args->dx, &dgate = args->dgate, &dy = args->dy, &x = args->x, &gate = args->gate,
                     &group = args->group;
    if (vin_status status = expect("dy", dy, VIN_ROWS, -1, -1)) return status;
    const int64_t R = dy.shape[0], C = dy.shape[1];
    if (vin_status status = expect("x", x, VIN_ROWS, R, C)) return status;
    if (vin_status status = expect("gate", gate, VIN_ROWS, -1, C)) return status;
    if (vin_status status = expect_if_present("dx", dx, VIN_ROWS, R, C)) return status;
    if (vin_status status = expect_if_present("dgate", dgate, VIN_ROWS, gate.shape[0], C)) return status;
    if (vin_status status = expect_group(group, R, gate.shape[0])) return status;
    // dgate first: dx may be dy or x itself.
    if (present(dgate))
        group_column_sums<1>(stream, {&dgate}, group, R, C, [&](vf(&value)[1], int64_t r, int64_t c, int64_t left) {
            value[0] = load_up_to(at(dy, r) + c, left) * load_up_to(at(x, r) + c, left);
        });
    if (!present(dx)) return VIN_OK;
    each_row(stream, R, C, [&](int64_t r) {
        float* to = at(dx, r);
        const float *from = at(dy, r), *factor = group_row(gate, group, r);
        for (int64_t c = 0; c < C; c += W)
            store_up_to(to + c, load_up_to(factor + c, C - c) * load_up_to(from + c, C - c), C - c);
    });
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
