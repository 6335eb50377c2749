// z = (x − mean) · rstd · weight + bias with the statistics of each image and group of channels: x [B, P, C], stats [B,
// groups, 2] = mean, rstd. y = z, or z · sigmoid(z) with silu. Sums and variance in fp64.
#include "activations.cuh"
#include "group_norm.cuh"

using namespace vin::cuda;

VIN_KERNEL group_norm_sums_kernel(double* partials, const float* x, GroupNormShape s, Reduction r);
VIN_KERNEL group_norm_stats_kernel(float* stats, float* kept, const double* partials, GroupNormShape s, i64 slices,
                                   double eps);
VIN_KERNEL group_norm_kernel(float* y, const float* x, const float* stats, const float* weight, const float* bias,
                             GroupNormShape s, int silu);

#if VIN_DEVICE
VIN_KERNEL group_norm_sums_kernel(double* partials, const float* x, GroupNormShape s, Reduction r) {
    sum_slices<2>(r, partials, [&](double (&value)[2], i64 output, i64 pixel) {
        const double number = x[(output / s.C * s.P + pixel) * s.C + output % s.C];
        value[0] = number;
        value[1] = number * number;
    });
}
VIN_EMULATED_KERNEL(group_norm_sums_kernel)

// 32 threads per image and group; `kept` is where the caller wants them too.
VIN_KERNEL group_norm_stats_kernel(float* stats, float* kept, const double* partials, GroupNormShape s, i64 slices,
                                   double eps) {
    const auto lanes = [](int i) {
        return shared_array<double>(row_shared_bytes<double>(i), row_lanes * rows_per_block);
    };
    const RowPlace place = row_place();
    const double n = (double)s.P * s.channels;
    const double mean = group_sum(lanes(0), place, partials, s, slices, nullptr) / n;
    const double square = group_sum(lanes(1), place, partials + slices * s.B * s.C, s, slices, nullptr) / n;
    if (place.lane > 0 || place.r >= s.B * s.groups) return;
    const double variance = square - mean * mean;
    const float pair[2] = {(float)mean, (float)(1 / sqrt((variance < 0 ? 0 : variance) + eps))};
    for (int i = 0; i < 2; i++) {
        stats[2 * place.r + i] = pair[i];
        if (kept) kept[2 * place.r + i] = pair[i];
    }
}
VIN_EMULATED_KERNEL(group_norm_stats_kernel)

VIN_KERNEL group_norm_kernel(float* y, const float* x, const float* stats, const float* weight, const float* bias,
                             GroupNormShape s, int silu) {
    for_each_item(s.B * s.P * s.C, [&](i64 i) {
        const i64 pixel = i / s.C, c = i - pixel * s.C;
        const float* const of = stats + 2 * (pixel / s.P * s.groups + c / s.channels);
        const float z = (x[i] - of[0]) * (of[1] * weight[c]) + bias[c];
        y[i] = silu ? silu_of(z) : z;
    });
}
VIN_EMULATED_KERNEL(group_norm_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_group_norm(vin_stream* stream, const vin_group_norm_args* args) {
    const char* const op = "group_norm";
    const vin_tensor &y = args->y, &x = args->x;
    GroupNormShape s = {};
    VIN_CHECK(expect_groups(op, x, args->groups, &s));
    VIN_CHECK(expect_if_present(op, "y", y, VIN_DTYPE_F32, DENSE, s.B, s.P, s.C));
    VIN_CHECK(expect_if_present(op, "stats", args->stats, VIN_DTYPE_F32, DENSE, s.B, s.groups, 2));
    VIN_CHECK(expect(op, "weight", args->weight, VIN_DTYPE_F32, DENSE, s.C));
    VIN_CHECK(expect(op, "bias", args->bias, VIN_DTYPE_F32, DENSE, s.C));
    const int64_t elements = s.B * s.P * s.C;
    if (elements == 0) return VIN_OK;

    const Reduction r = reduction(s.B * s.C, s.P, false);
    const int64_t groups = s.B * s.groups;
    double* partials;
    float* stats;
    VIN_CHECK(partials_of(stream, r, 2, &partials));
    VIN_CHECK(scratch_of(stream, 2 * groups, &stats));
    VIN_CHECK(launch(reduce_grid(r), reduce_block, reduce_shared_bytes<double>(2), stream,
                     VIN_KERNEL_OF(group_norm_sums_kernel), partials, f32(x), s, r));
    VIN_CHECK(launch(row_grid(groups), row_block, row_shared_bytes<double>(2), stream,
                     VIN_KERNEL_OF(group_norm_stats_kernel), stats, f32(args->stats), partials, s, r.slices,
                     (double)args->eps));
    if (!present(y)) return VIN_OK;
    return launch_over(elements, stream, VIN_KERNEL_OF(group_norm_kernel), f32(y), f32(x), stats, f32(args->weight),
                       f32(args->bias), s, (int)args->silu);
}
#endif
