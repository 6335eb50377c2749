// With n = x · rstd and t = dy turned back: dweight += Σ t · n, and for g = t · weight: dx = rstd · (g − n · mean(g ·
// n)). Without weight dx = t.
#include "reduce.cuh"
#include "rope.cuh"

using namespace vin::cuda;

// weight, x and rstd are null where there is no norm.
struct RmsNormGradient {
    RowHeads dy, x;
    const float *rstd, *weight;
    Rope rope;
    i64 R, H, d;
};

VIN_KERNEL rms_norm_rope_gradient_kernel(RowHeads dx, RmsNormGradient g);
VIN_KERNEL rms_norm_rope_weight_gradient_kernel(float* partials, RmsNormGradient g, Reduction r);

#if VIN_DEVICE
// Numbers i and i + 1 of dy turned back; alone at the end of an odd head.
VIN_DEVICE_FUNCTION Pair turned_back(const RmsNormGradient& g, i64 r, i64 h, i64 i) {
    const float *const from = head_of(g.dy, r, h) + i, *const line = line_of(g.rope, r);
    const Pair pair = {from[0], i + 1 < g.d ? from[1] : 0};
    return line ? turn_back(pair, line + i) : pair;
}

// 32 threads per head.
VIN_KERNEL rms_norm_rope_gradient_kernel(RowHeads dx, RmsNormGradient g) {
    const SharedArray<float> sums = shared_array<float>(0, row_lanes * rows_per_block);
    const RowPlace place = row_place();
    const i64 r = place.r / g.H, h = place.r % g.H, size = r < g.R ? g.d : 0;
    const float* const x = g.weight ? head_of(g.x, r, h) : nullptr;
    float rstd = 1, mean = 0;
    if (g.weight) {
        float sum = 0;
        rstd = r < g.R ? g.rstd[place.r] : 0;
        for_each_pair(place.lane, size, [&](i64 i, bool two) {
            const Pair t = turned_back(g, r, h, i);
            sum += t.first * (x[i] * rstd) * g.weight[i];
            if (two) sum += t.second * (x[i + 1] * rstd) * g.weight[i + 1];
        });
        mean = row_sum(sums, place, sum) / (float)g.d;
    }
    for_each_pair(place.lane, size, [&](i64 i, bool two) {
        const Pair t = turned_back(g, r, h, i);
        const auto gradient = [&](float turned, i64 at) {
            return g.weight ? rstd * (turned * g.weight[at] - x[at] * rstd * mean) : turned;
        };
        const float first = gradient(t.first, i), second = two ? gradient(t.second, i + 1) : 0;
        float* const to = head_of(dx, r, h) + i;  // may be dy or x
        to[0] = first;
        if (two) to[1] = second;
    });
}
VIN_EMULATED_KERNEL(rms_norm_rope_gradient_kernel)

VIN_KERNEL rms_norm_rope_weight_gradient_kernel(float* partials, RmsNormGradient g, Reduction r) {
    sum_slices<1>(r, partials, [&](float (&value)[1], i64 i, i64 index) {
        const i64 row = index / g.H, h = index - row * g.H;
        const Pair t = turned_back(g, row, h, i - i % 2);
        value[0] = (i % 2 ? t.second : t.first) * (head_of(g.x, row, h)[i] * g.rstd[index]);
    });
}
VIN_EMULATED_KERNEL(rms_norm_rope_weight_gradient_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_rms_norm_rope_backward(vin_stream* stream, const vin_rms_norm_rope_backward_args* args) {
    const char* const op = "rms_norm_rope_backward";
    const vin_tensor &dx = args->dx, &dweight = args->dweight, &dy = args->dy, &weight = args->weight;
    VIN_CHECK(expect(op, "dy", dy, VIN_DTYPE_F32, ROWS, -1, -1, -1));
    const int64_t R = dy.shape[0], H = dy.shape[1], d = dy.shape[2];
    VIN_CHECK(expect_if_present(op, "weight", weight, VIN_DTYPE_F32, DENSE, d));
    if (present(weight)) {
        VIN_CHECK(expect(op, "x", args->x, VIN_DTYPE_F32, ROWS, R, H, d));
        VIN_CHECK(expect(op, "rstd", args->rstd, VIN_DTYPE_F32, DENSE, R, H));
    }
    VIN_CHECK(expect_if_present(op, "dx", dx, VIN_DTYPE_F32, ROWS, R, H, d));
    VIN_CHECK(expect_if_present(op, "dweight", dweight, VIN_DTYPE_F32, DENSE, d));
    VIN_CHECK(expect_rope(op, args->rope, d, args->rows_per_position));
    if (R * H * d == 0) return VIN_OK;
    const RmsNormGradient g = {row_heads(dy),
                               row_heads(args->x),
                               f32(args->rstd),
                               f32(weight),
                               rope_of(args->rope, args->rows_per_position),
                               R,
                               H,
                               d};
    // The sums first: dx may be dy or x itself.
    if (present(weight) && present(dweight)) {
        const Reduction r = reduction(d, R * H, false);
        float* partials;
        VIN_CHECK(partials_of(stream, r, 1, &partials));
        VIN_CHECK(launch(reduce_grid(r), reduce_block, reduce_shared_bytes<float>(1), stream,
                         VIN_KERNEL_OF(rms_norm_rope_weight_gradient_kernel), partials, g, r));
        VIN_CHECK(finish_sum(stream, dweight, partials, r.slices, true));
    }
    if (!present(dx)) return VIN_OK;
    return launch(row_grid(R * H), row_block, row_shared_bytes(), stream, VIN_KERNEL_OF(rms_norm_rope_gradient_kernel),
                  row_heads(dx), g);
}
#endif
