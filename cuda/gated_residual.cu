// y[R,C] = residual + gate[group[r]] · x, with one rounding, as processors with a fused product and sum do it.
#include "rows.cuh"
#include "strided.cuh"

using namespace vin::cuda;

VIN_KERNEL gated_residual_kernel(Rows y, Rows x, GroupRows gate, Rows residual, i64 R, i64 C);

#if VIN_DEVICE
VIN_KERNEL gated_residual_kernel(Rows y, Rows x, GroupRows gate, Rows residual, i64 R, i64 C) {
    for_each_item(R * C, [&](i64 i) {
        const i64 r = i / C, c = i % C;
        row_of(y, r)[c] = fmaf(group_value(gate, r, c), row_of(x, r)[c], row_of(residual, r)[c]);
    });
}
VIN_EMULATED_KERNEL(gated_residual_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_gated_residual(vin_stream* stream, const vin_gated_residual_args* args) {
    const char* const op = "gated_residual";
    const vin_tensor &x = args->x, &gate = args->gate;
    VIN_CHECK(expect(op, "x", x, VIN_DTYPE_F32, ROWS, -1, -1));
    const int64_t R = x.shape[0], C = x.shape[1];
    VIN_CHECK(expect(op, "y", args->y, VIN_DTYPE_F32, ROWS, R, C));
    VIN_CHECK(expect(op, "residual", args->residual, VIN_DTYPE_F32, ROWS, R, C));
    VIN_CHECK(expect(op, "gate", gate, VIN_DTYPE_F32, ROWS, -1, C));
    VIN_CHECK(expect_group(op, args->group, R, gate.shape[0]));
    return launch_over(R * C, stream, VIN_KERNEL_OF(gated_residual_kernel), rows(args->y), rows(x),
                       group_rows(gate, args->group), rows(args->residual), R, C);
}
#endif
