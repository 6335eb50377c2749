// With n = (x − mean) · rstd, z = n · weight + bias, dz = dy · silu'(z) (or dy) and g = dz · weight:
//   dweight[c] += Σ dz · n, dbias[c] += Σ dz, dx = rstd · (g − mean(g) − n · mean(g · n)), means over an image's group.
#include "activations.cuh"
#include "group_norm.cuh"

using namespace vin::cuda;

struct GroupNormGradient {
    const float *dy, *x, *stats, *weight, *bias;
    GroupNormShape shape;
    int silu;
};

VIN_KERNEL group_norm_gradient_sums_kernel(double* partials, GroupNormGradient g, Reduction r);
VIN_KERNEL group_norm_parameter_gradients_kernel(float* dweight, float* dbias, const double* partials, GroupNormShape s,
                                                 i64 slices);
VIN_KERNEL group_norm_gradient_means_kernel(float* means, const double* partials, const float* weight, GroupNormShape s,
                                            i64 slices);
VIN_KERNEL group_norm_gradient_kernel(float* dx, GroupNormGradient g, const float* means);

#if VIN_DEVICE
// n and dz of channel c of an image's pixel.
struct Normalised {
    float n, dz, rstd;
};
VIN_DEVICE_FUNCTION Normalised normalised(const GroupNormGradient& g, i64 image, i64 pixel, i64 c) {
    const GroupNormShape& s = g.shape;
    const float* const of = g.stats + 2 * (image * s.groups + c / s.channels);
    const i64 at = (image * s.P + pixel) * s.C + c;
    const float n = (g.x[at] - of[0]) * of[1];
    if (!g.silu) return {n, g.dy[at], of[1]};
    const float z = n * g.weight[c] + g.bias[c], sig = sigmoid(z);
    return {n, g.dy[at] * sig * (1.f + z * (1.f - sig)), of[1]};
}

VIN_KERNEL group_norm_gradient_sums_kernel(double* partials, GroupNormGradient g, Reduction r) {
    sum_slices<2>(r, partials, [&](double (&value)[2], i64 output, i64 pixel) {
        const i64 image = output / g.shape.C;
        const Normalised at = normalised(g, image, pixel, output - image * g.shape.C);
        value[0] = at.dz;
        value[1] = (double)at.dz * at.n;
    });
}
VIN_EMULATED_KERNEL(group_norm_gradient_sums_kernel)

// 32 threads per channel, over images and slices.
VIN_KERNEL group_norm_parameter_gradients_kernel(float* dweight, float* dbias, const double* partials, GroupNormShape s,
                                                 i64 slices) {
    const RowPlace place = row_place();
    const i64 c = place.r, terms = c < s.C ? slices * s.B : 0;
    for (int k = 0; k < 2; k++) {
        double total = 0;
        for (i64 i = place.lane; i < terms; i += row_lanes) total += partials[(k * slices * s.B + i) * s.C + c];
        total = row_sum(shared_array<double>(row_shared_bytes<double>(k), row_lanes * rows_per_block), place, total);
        float* const to = k == 0 ? dbias : dweight;
        if (to && c < s.C && place.lane == 0) to[c] += (float)total;
    }
}
VIN_EMULATED_KERNEL(group_norm_parameter_gradients_kernel)

// means [B, groups, 2] = mean(g), mean(g · n); 32 threads per image and group.
VIN_KERNEL group_norm_gradient_means_kernel(float* means, const double* partials, const float* weight, GroupNormShape s,
                                            i64 slices) {
    const RowPlace place = row_place();
    for (int k = 0; k < 2; k++) {
        const double total = group_sum(shared_array<double>(row_shared_bytes<double>(k), row_lanes * rows_per_block),
                                       place, partials + k * slices * s.B * s.C, s, slices, weight);
        if (place.lane == 0 && place.r < s.B * s.groups)
            means[2 * place.r + k] = (float)(total / ((double)s.P * s.channels));
    }
}
VIN_EMULATED_KERNEL(group_norm_gradient_means_kernel)

VIN_KERNEL group_norm_gradient_kernel(float* dx, GroupNormGradient g, const float* means) {
    const GroupNormShape& s = g.shape;
    for_each_item(s.B * s.P * s.C, [&](i64 i) {
        const i64 pixel = i / s.C, c = i - pixel * s.C, image = pixel / s.P;
        const Normalised at = normalised(g, image, pixel - image * s.P, c);
        const float* const mean = means + 2 * (image * s.groups + c / s.channels);
        dx[i] = at.rstd * (at.dz * g.weight[c] - mean[0] - at.n * mean[1]);
    });
}
VIN_EMULATED_KERNEL(group_norm_gradient_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_group_norm_backward(vin_stream* stream, const vin_group_norm_backward_args* args) {
    const char* const op = "group_norm_backward";
    const vin_tensor &dx = args->dx, &dweight = args->dweight, &dbias = args->dbias;
    GroupNormShape s = {};
    VIN_CHECK(expect_groups(op, args->x, args->groups, &s));
    VIN_CHECK(expect(op, "dy", args->dy, VIN_DTYPE_F32, DENSE, s.B, s.P, s.C));
    VIN_CHECK(expect(op, "stats", args->stats, VIN_DTYPE_F32, DENSE, s.B, s.groups, 2));
    VIN_CHECK(expect(op, "weight", args->weight, VIN_DTYPE_F32, DENSE, s.C));
    VIN_CHECK(expect(op, "bias", args->bias, VIN_DTYPE_F32, DENSE, s.C));
    VIN_CHECK(expect_if_present(op, "dx", dx, VIN_DTYPE_F32, DENSE, s.B, s.P, s.C));
    VIN_CHECK(expect_if_present(op, "dweight", dweight, VIN_DTYPE_F32, DENSE, s.C));
    VIN_CHECK(expect_if_present(op, "dbias", dbias, VIN_DTYPE_F32, DENSE, s.C));
    const int64_t elements = s.B * s.P * s.C;
    if (elements == 0) return VIN_OK;

    const GroupNormGradient g = {f32(args->dy), f32(args->x), f32(args->stats), f32(args->weight), f32(args->bias), s,
                                 args->silu};
    const Reduction r = reduction(s.B * s.C, s.P, false);
    const int64_t groups = s.B * s.groups;
    double* partials;
    float* means;
    VIN_CHECK(partials_of(stream, r, 2, &partials));
    VIN_CHECK(scratch_of(stream, 2 * groups, &means));
    VIN_CHECK(launch(reduce_grid(r), reduce_block, reduce_shared_bytes<double>(2), stream,
                     VIN_KERNEL_OF(group_norm_gradient_sums_kernel), partials, g, r));
    if (present(dweight) || present(dbias))
        VIN_CHECK(launch(row_grid(s.C), row_block, row_shared_bytes<double>(2), stream,
                         VIN_KERNEL_OF(group_norm_parameter_gradients_kernel), f32(dweight), f32(dbias), partials, s,
                         r.slices));
    if (!present(dx)) return VIN_OK;
    VIN_CHECK(launch(row_grid(groups), row_block, row_shared_bytes<double>(2), stream,
                     VIN_KERNEL_OF(group_norm_gradient_means_kernel), means, partials, f32(args->weight), s, r.slices));
    return launch_over(elements, stream, VIN_KERNEL_OF(group_norm_gradient_kernel), f32(dx), g, means);
}
#endif
