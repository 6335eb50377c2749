// dx = gate[group] · dy; dgate[g] = Σ over the rows of group g of dy · x. The residual's gradient is dy itself.
#include "check.h"
#include "column_sums.h"

namespace vin {
namespace cpu {
namespace VIN_CPU_ISA {

vin_status gated_residual_backward(vin_stream* stream, const vin_gated_residual_backward_args* args) {
    const vin_tensor &dx = args->dx, &dgate = args->dgate, &dy = args->dy, &x = args->x, &gate = args->gate,
                     &group = args->group;
    if (vin_status status = expect("gated_residual_backward", "dy", dy, VIN_DTYPE_F32, VIN_ROWS, -1, -1)) return status;
    const int64_t R = dy.shape[0], C = dy.shape[1];
    if (vin_status status = expect("gated_residual_backward", "x", x, VIN_DTYPE_F32, VIN_ROWS, R, C)) return status;
    if (vin_status status = expect("gated_residual_backward", "gate", gate, VIN_DTYPE_F32, VIN_ROWS, -1, C))
        return status;
    if (vin_status status = expect_if_present("gated_residual_backward", "dx", dx, VIN_DTYPE_F32, VIN_ROWS, R, C))
        return status;
    if (vin_status status =
            expect_if_present("gated_residual_backward", "dgate", dgate, VIN_DTYPE_F32, VIN_ROWS, gate.shape[0], C))
        return status;
    if (vin_status status = expect_group("gated_residual_backward", group, R, gate.shape[0])) return status;
    // dgate first: dx may be dy or x itself.
    if (present(dgate))
        group_column_sums<1>(stream, {&dgate}, group, R, C, [&](vf(&value)[1], int64_t r, int64_t c, int64_t left) {
            value[0] =
                load_up_to(f32(dy) + r * dy.stride[0] + c, left) * load_up_to(f32(x) + r * x.stride[0] + c, left);
        });
    if (!present(dx)) return VIN_OK;
    parallel_rows(stream, R, C, [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; r++) {
            float* to = f32(dx) + r * dx.stride[0];
            const float *from = f32(dy) + r * dy.stride[0], *factor = group_row(gate, group, r);
            for (int64_t c = 0; c < C; c += W)
                store_up_to(to + c, load_up_to(factor + c, C - c) * load_up_to(from + c, C - c), C - c);
        }
    });
    return VIN_OK;
}

}  // namespace VIN_CPU_ISA
}  // namespace cpu
}  // namespace vin
