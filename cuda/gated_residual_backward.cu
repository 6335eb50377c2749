// dx = gate[group] · dy; dgate[g] = Σ over the rows of group g of dy · x. The residual's gradient is dy itself.
#include "reduce.cuh"
#include "rows.cuh"

using namespace vin::cuda;

VIN_KERNEL gated_residual_dgate_kernel(float* partials, Reduction r, Rows dy, Rows x, GroupRows gate, i64 C);
VIN_KERNEL gated_residual_dx_kernel(Rows dx, Rows dy, GroupRows gate, i64 R, i64 C);

#if VIN_DEVICE
// The outputs are (group, column), the terms all rows: those of other groups count as 0.
VIN_KERNEL gated_residual_dgate_kernel(float* partials, Reduction r, Rows dy, Rows x, GroupRows gate, i64 C) {
    sum_slices<1>(r, partials, [&](float (&value)[1], i64 output, i64 row) {
        const i64 g = output / C, c = output - g * C;
        if (group_of(gate, row) == g) value[0] = row_of(dy, row)[c] * row_of(x, row)[c];
    });
}
VIN_EMULATED_KERNEL(gated_residual_dgate_kernel)

VIN_KERNEL gated_residual_dx_kernel(Rows dx, Rows dy, GroupRows gate, i64 R, i64 C) {
    for_each_item(R * C, [&](i64 i) {
        const i64 r = i / C, c = i % C;
        row_of(dx, r)[c] = group_value(gate, r, c) * row_of(dy, r)[c];
    });
}
VIN_EMULATED_KERNEL(gated_residual_dx_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_gated_residual_backward(vin_stream* stream,
                                                       const vin_gated_residual_backward_args* args) {
    const char* const op = "gated_residual_backward";
    const vin_tensor &dx = args->dx, &dgate = args->dgate, &dy = args->dy, &x = args->x, &gate = args->gate;
    VIN_CHECK(expect(op, "dy", dy, VIN_DTYPE_F32, ROWS, -1, -1));
    const int64_t R = dy.shape[0], C = dy.shape[1];
    VIN_CHECK(expect(op, "x", x, VIN_DTYPE_F32, ROWS, R, C));
    VIN_CHECK(expect(op, "gate", gate, VIN_DTYPE_F32, ROWS, -1, C));
    const int64_t groups = gate.shape[0];
    VIN_CHECK(expect_if_present(op, "dx", dx, VIN_DTYPE_F32, ROWS, R, C));
    VIN_CHECK(expect_if_present(op, "dgate", dgate, VIN_DTYPE_F32, ROWS, groups, C));
    VIN_CHECK(expect_group(op, args->group, R, groups));
    // dgate first: dx may be dy or x itself.
    if (present(dgate) && groups * C > 0) {
        const Reduction r = reduction(groups * C, R, false);
        float* partials;
        VIN_CHECK(partials_of(stream, r, 1, &partials));
        VIN_CHECK(launch(reduce_grid(r), reduce_block, reduce_shared_bytes<float>(1), stream,
                         VIN_KERNEL_OF(gated_residual_dgate_kernel), partials, r, rows(dy), rows(x),
                         group_rows(gate, args->group), C));
        VIN_CHECK(finish_sum(stream, dgate, partials, r.slices, false));
    }
    if (!present(dx)) return VIN_OK;
    return launch_over(R * C, stream, VIN_KERNEL_OF(gated_residual_dx_kernel), rows(dx), rows(dy),
                       group_rows(gate, args->group), R, C);
}
#endif
