// With n = (x − mean) · rstd and g = dy · (1 + scale[group]):
//   dx = rstd · (g − mean(g) − n · mean(g · n)), dscale[k] = Σ over the rows of group k of dy · n, dshift[k] = Σ dy.
#include "reduce.cuh"
#include "rows.cuh"

using namespace vin::cuda;

VIN_KERNEL layer_norm_gradient_kernel(Rows dx, Rows dy, Rows x, const float* stats, GroupRows scale, i64 R, i64 C);
VIN_KERNEL layer_norm_modulation_gradient_kernel(float* partials, Rows dy, Rows x, const float* stats, const int* group,
                                                 i64 C, Reduction r);

#if VIN_DEVICE
VIN_KERNEL layer_norm_gradient_kernel(Rows dx, Rows dy, Rows x, const float* stats, GroupRows scale, i64 R, i64 C) {
    const auto lanes = [](int i) { return shared_array<float>(row_shared_bytes(i), row_lanes * rows_per_block); };
    const RowPlace place = row_place();
    const i64 r = place.r, columns = r < R ? C : 0;
    const float mean = r < R ? stats[2 * r] : 0, rstd = r < R ? stats[2 * r + 1] : 0;
    const auto normalised = [&](i64 c) { return (row_of(x, r)[c] - mean) * rstd; };
    const auto weighted = [&](i64 c) {  // g
        return scale.data ? row_of(dy, r)[c] * (1.f + group_value(scale, r, c)) : row_of(dy, r)[c];
    };
    float sum_g = 0, sum_gn = 0;
    for (i64 c = place.lane; c < columns; c += row_lanes) {
        sum_g += weighted(c);
        sum_gn += weighted(c) * normalised(c);
    }
    const float mean_g = row_sum(lanes(0), place, sum_g) / (float)C,
                mean_gn = row_sum(lanes(1), place, sum_gn) / (float)C;
    for (i64 c = place.lane; c < columns; c += row_lanes)
        row_of(dx, r)[c] = rstd * (weighted(c) - mean_g - normalised(c) * mean_gn);
}
VIN_EMULATED_KERNEL(layer_norm_gradient_kernel)

// Outputs are (group, column): a block looks at all rows of its slice and adds those of its groups.
VIN_KERNEL layer_norm_modulation_gradient_kernel(float* partials, Rows dy, Rows x, const float* stats, const int* group,
                                                 i64 C, Reduction r) {
    sum_slices<2>(r, partials, [&](float (&value)[2], i64 output, i64 row) {
        const i64 k = output / C, c = output - k * C;
        if ((group ? group[row] : 0) != k) return;
        value[1] = row_of(dy, row)[c];
        value[0] = value[1] * ((row_of(x, row)[c] - stats[2 * row]) * stats[2 * row + 1]);
    });
}
VIN_EMULATED_KERNEL(layer_norm_modulation_gradient_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_layer_norm_modulate_backward(vin_stream* stream,
                                                            const vin_layer_norm_modulate_backward_args* args) {
    const char* const op = "layer_norm_modulate_backward";
    const vin_tensor &dx = args->dx, &dy = args->dy, &x = args->x, &scale = args->scale, &group = args->group;
    VIN_CHECK(expect(op, "dy", dy, VIN_DTYPE_F32, ROWS, -1, -1));
    const int64_t R = dy.shape[0], C = dy.shape[1];
    VIN_CHECK(expect(op, "x", x, VIN_DTYPE_F32, ROWS, R, C));
    VIN_CHECK(expect(op, "stats", args->stats, VIN_DTYPE_F32, DENSE, R, 2));
    VIN_CHECK(expect_if_present(op, "scale", scale, VIN_DTYPE_F32, ROWS, -1, C));
    VIN_CHECK(expect_if_present(op, "dx", dx, VIN_DTYPE_F32, ROWS, R, C));
    const vin_tensor &dscale = args->dscale, &dshift = args->dshift;
    VIN_CHECK(expect_if_present(op, "dscale", dscale, VIN_DTYPE_F32, ROWS, -1, C));
    VIN_CHECK(expect_if_present(op, "dshift", dshift, VIN_DTYPE_F32, ROWS, present(dscale) ? dscale.shape[0] : -1, C));
    for (const vin_tensor* t : {&scale, &dscale, &dshift})
        if (present(*t)) VIN_CHECK(expect_group(op, group, R, t->shape[0]));

    // The sums first: dx may be dy or x itself.
    const int64_t groups = present(dscale) ? dscale.shape[0] : present(dshift) ? dshift.shape[0] : 0;
    if (groups * C > 0) {
        const Reduction r = reduction(groups * C, R, false);
        float* partials;
        VIN_CHECK(partials_of(stream, r, 2, &partials));
        VIN_CHECK(launch(reduce_grid(r), reduce_block, reduce_shared_bytes<float>(2), stream,
                         VIN_KERNEL_OF(layer_norm_modulation_gradient_kernel), partials, rows(dy), rows(x),
                         f32(args->stats), i32(group), C, r));
        VIN_CHECK(finish_sum(stream, dscale, partials, r.slices, false));
        VIN_CHECK(finish_sum(stream, dshift, partials + r.slices * r.outputs, r.slices, false));
    }
    if (!present(dx) || R == 0) return VIN_OK;
    return launch(row_grid(R), row_block, row_shared_bytes(2), stream, VIN_KERNEL_OF(layer_norm_gradient_kernel),
                  rows(dx), rows(dy), rows(x), f32(args->stats), group_rows(scale, group), R, C);
}
#endif
