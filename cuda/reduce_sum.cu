// y = Σ x over the axes where y has size 1.
#include "reduce.cuh"

using namespace vin::cuda;

// Some of x's axes, those that lie next to each other merged; items are counted row-major.
struct Axes {
    int rank;
    i64 count, size[5], stride[5];
};

VIN_KERNEL reduce_sum_kernel(float* partials, const float* x, Axes kept, Axes reduced, Reduction r);

#if VIN_DEVICE
VIN_DEVICE_FUNCTION i64 offset_of(const Axes& axes, i64 item) {
    i64 offset = 0;
    VIN_UNROLL
    for (int k = 4; k > 0; k--) {
        if (k >= axes.rank) continue;
        const i64 next = item / axes.size[k];
        offset += (item - next * axes.size[k]) * axes.stride[k];
        item = next;
    }
    return axes.rank > 0 ? offset + item * axes.stride[0] : offset;
}

VIN_KERNEL reduce_sum_kernel(float* partials, const float* x, Axes kept, Axes reduced, Reduction r) {
    sum_slices<1>(r, partials, [&](float (&value)[1], i64 output, i64 index) {
        value[0] = x[offset_of(kept, output) + offset_of(reduced, index)];
    });
}
VIN_EMULATED_KERNEL(reduce_sum_kernel)

VIN_KERNEL column_sums_kernel(float* partials, const float* x, i64 stride, Reduction r) {
    sum_slices<1>(r, partials, [&](float (&value)[1], i64 column, i64 row) { value[0] = x[row * stride + column]; });
}
VIN_EMULATED_KERNEL(column_sums_kernel)

VIN_KERNEL add_partials_kernel(float* y, const float* partials, i64 slices, i64 stride, int added, Walk<2> w) {
    for_each_element(w, [&](const i64* at) {
        float total = 0;
        for (i64 slice = 0; slice < slices; slice++) total += partials[slice * stride + at[1]];
        y[at[0]] = added ? y[at[0]] + total : total;
    });
}
VIN_EMULATED_KERNEL(add_partials_kernel)
#endif

#if VIN_HOST
static void add_axis(Axes& axes, int64_t size, int64_t stride) {
    axes.count *= size;
    if (size == 1) return;
    const int last = axes.rank - 1;
    if (last >= 0 && axes.stride[last] == stride * size) {
        axes.size[last] *= size;
        axes.stride[last] = stride;
        return;
    }
    axes.size[axes.rank] = size;
    axes.stride[axes.rank++] = stride;
}

extern "C" vin_status vin_cuda_reduce_sum(vin_stream* stream, const vin_reduce_sum_args* args) {
    const vin_tensor &y = args->y, &x = args->x;
    VIN_CHECK(expect_like("reduce_sum", "x", x, VIN_DTYPE_F32, STRIDED, x));
    Axes kept = {0, 1, {}, {}}, reduced = {0, 1, {}, {}};
    int64_t shape[VIN_MAX_RANK] = {};
    for (int i = 0; i < x.rank; i++) {
        const bool sums = i < y.rank && y.shape[i] == 1;
        shape[i] = sums ? 1 : x.shape[i];
        add_axis(sums ? reduced : kept, x.shape[i], x.stride[i]);
    }
    VIN_CHECK(expect_tensor("reduce_sum", "y", y, VIN_DTYPE_F32, STRIDED_OUTPUT, x.rank, shape));
    if (kept.count == 0) return VIN_OK;
    const bool columns = kept.rank > 0 && kept.stride[kept.rank - 1] == 1;
    const Reduction r = reduction(kept.count, reduced.count, !columns);
    float* partials;
    VIN_CHECK(partials_of(stream, r, 1, &partials));
    VIN_CHECK(launch(reduce_grid(r), reduce_block, reduce_shared_bytes<float>(1), stream,
                     VIN_KERNEL_OF(reduce_sum_kernel), partials, f32(x), kept, reduced, r));
    return finish_sum(stream, y, partials, r.slices, false);
}
#endif
