// y = (x − mean) · rstd · (1 + scale[group]) + shift[group], for each row of x [R, C]; scale and shift [groups, C].
// stats [R, 2] keeps mean and rstd for the backward pass. The variance is the biased one, from a second pass over the
// row.
#include "rows.cuh"

using namespace vin::cuda;

VIN_KERNEL layer_norm_modulate_kernel(Rows y, float* stats, Rows x, GroupRows scale, GroupRows shift, i64 R, i64 C,
                                      float eps);

#if VIN_DEVICE
VIN_KERNEL layer_norm_modulate_kernel(Rows y, float* stats, Rows x, GroupRows scale, GroupRows shift, i64 R, i64 C,
                                      float eps) {
    const SharedArray<float> sums = shared_array<float>(0, row_lanes * rows_per_block),
                             squares = shared_array<float>(row_shared_bytes(), row_lanes * rows_per_block);
    const RowPlace place = row_place();
    const i64 r = place.r, columns = r < R ? C : 0;
    const float* const from = row_of(x, r);
    float total = 0;
    for (i64 c = place.lane; c < columns; c += row_lanes) total += from[c];
    const float mean = row_sum(sums, place, total) / (float)C;

    float square = 0;
    for (i64 c = place.lane; c < columns; c += row_lanes) square += (from[c] - mean) * (from[c] - mean);
    const float rstd = 1.f / sqrtf(row_sum(squares, place, square) / (float)C + eps);

    for (i64 c = place.lane; y.data && c < columns; c += row_lanes) {
        float value = (from[c] - mean) * rstd;
        if (scale.data) value *= 1.f + group_value(scale, r, c);
        if (shift.data) value += group_value(shift, r, c);
        row_of(y, r)[c] = value;
    }
    if (stats && r < R && place.lane == 0) {
        stats[2 * r] = mean;
        stats[2 * r + 1] = rstd;
    }
}
VIN_EMULATED_KERNEL(layer_norm_modulate_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_layer_norm_modulate(vin_stream* stream, const vin_layer_norm_modulate_args* args) {
    const char* const op = "layer_norm_modulate";
    const vin_tensor &x = args->x, &scale = args->scale, &shift = args->shift;
    VIN_CHECK(expect(op, "x", x, VIN_DTYPE_F32, ROWS, -1, -1));
    const int64_t R = x.shape[0], C = x.shape[1];
    VIN_CHECK(expect_if_present(op, "y", args->y, VIN_DTYPE_F32, ROWS, R, C));
    VIN_CHECK(expect_if_present(op, "stats", args->stats, VIN_DTYPE_F32, DENSE, R, 2));
    VIN_CHECK(expect_if_present(op, "scale", scale, VIN_DTYPE_F32, ROWS, -1, C));
    VIN_CHECK(expect_if_present(op, "shift", shift, VIN_DTYPE_F32, ROWS, -1, C));
    if (present(scale)) VIN_CHECK(expect_group(op, args->group, R, scale.shape[0]));
    if (present(shift)) VIN_CHECK(expect_group(op, args->group, R, shift.shape[0]));
    if (R == 0) return VIN_OK;
    return launch(row_grid(R), row_block, row_shared_bytes(2), stream, VIN_KERNEL_OF(layer_norm_modulate_kernel),
                  rows(args->y), f32(args->stats), rows(x), group_rows(scale, args->group),
                  group_rows(shift, args->group), R, C, args->eps);
}
#endif
