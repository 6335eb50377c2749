// Sums of many terms in one order, which follows from the shape alone: a first launch leaves a partial sum per slice of
// the terms, a second one adds these, ascending. No atomics.
#pragma once
#include "strided.cuh"

namespace vin {
namespace cuda {

// `outputs` sums of `terms` each. A block of 256 threads takes 256 / lanes outputs of a slice of the terms.
struct Reduction {
    i64 outputs, terms, slices, slice_terms;
    int lanes;       // threads that share an output
    int lanes_near;  // 1: neighbouring threads share an output; 0: they have neighbouring outputs
};

constexpr int reduce_threads = 256;
template <class Sum>
VIN_CONSTEXPR int reduce_shared_bytes(int N) {
    return N * shared_bytes<Sum>(reduce_threads);
}

// partials[slice][column] = Σ of x[row][column] over a slice's rows. In reduce_sum.cu, as is the next.
VIN_KERNEL column_sums_kernel(float* partials, const float* x, i64 stride, Reduction r);

// y = Σ of `slices` arrays of partial sums, `stride` apart, or y += that sum; w walks over y and an array.
VIN_KERNEL add_partials_kernel(float* y, const float* partials, i64 slices, i64 stride, int added, Walk<2> w);

#if VIN_DEVICE
// partials[k][slice][output] = Σ over a slice's terms, where term(values, output, index) sets N values. A thread adds
// runs of at most 128 terms, so that the rounding error of a long sum stays small; then the lanes are added in order.
template <int N, class Sum, class Term>
VIN_DEVICE_FUNCTION void sum_slices(const Reduction& r, Sum* partials, const Term& term) {
    constexpr int run = 128;
    const int thread = threadIdx.x, width = reduce_threads / r.lanes;
    const int place = r.lanes_near ? thread / r.lanes : thread % width,
              lane = r.lanes_near ? thread % r.lanes : thread / width;
    const i64 blocks = (r.outputs + width - 1) / width, slice = blockIdx.x / blocks,
              output = blockIdx.x % blocks * width + place;
    const i64 begin = slice * r.slice_terms, end = output >= r.outputs               ? begin
                                                   : begin + r.slice_terms < r.terms ? begin + r.slice_terms
                                                                                     : r.terms;
    Sum total[N] = {};
    for (i64 index = begin + lane; index < end;) {
        Sum part[N] = {};
        for (int i = 0; i < run && index < end; i++, index += r.lanes) {
            Sum value[N] = {};
            term(value, output, index);
            for (int k = 0; k < N; k++) part[k] += value[k];
        }
        for (int k = 0; k < N; k++) total[k] += part[k];
    }
    const auto lanes_of = [&](int k) {
        return shared_array<Sum>(k * shared_bytes<Sum>(reduce_threads), reduce_threads);
    };
    for (int k = 0; k < N; k++) lanes_of(k)[place * r.lanes + lane] = total[k];
    __syncthreads();
    if (lane > 0 || output >= r.outputs) return;
    for (int k = 0; k < N; k++) {
        Sum sum = 0;
        for (int i = 0; i < r.lanes; i++) sum += lanes_of(k)[place * r.lanes + i];
        partials[(k * r.slices + slice) * r.outputs + output] = sum;
    }
}
#endif

#if VIN_HOST
// along: the terms of one output lie next to each other; else neighbouring outputs do.
inline Reduction reduction(int64_t outputs, int64_t terms, bool along) {
    constexpr int64_t wanted_blocks = 1024;  // fill any GPU
    constexpr int64_t least_terms = 16;      // of a thread: fewer are not worth a partial sum
    Reduction r = {outputs, terms, 1, terms, 8, 0};
    if (along || outputs < 32) {
        r.lanes = outputs < 64 ? reduce_threads : 32;
        r.lanes_near = 1;
    }
    const int64_t blocks = divide_up(outputs, reduce_threads / r.lanes);
    const int64_t most = blocks < wanted_blocks ? wanted_blocks / blocks : 1;
    const int64_t slices = divide_up(terms, r.lanes * least_terms);
    if (slices > 1 && most > 1) {
        r.slice_terms = divide_up(terms, slices < most ? slices : most);
        r.slices = divide_up(terms, r.slice_terms);
    }
    return r;
}
inline Grid reduce_grid(const Reduction& r) {
    return {(unsigned)(divide_up(r.outputs, reduce_threads / r.lanes) * r.slices)};
}
constexpr Grid reduce_block = {reduce_threads};

template <class Number>
vin_status scratch_of(vin_stream* stream, int64_t numbers, Number** data) {
    void* memory;
    VIN_CHECK(scratch(stream, (size_t)numbers * sizeof(Number), &memory));
    *data = static_cast<Number*>(memory);
    return VIN_OK;
}
// Partial sums of `sums` reductions.
template <class Sum>
vin_status partials_of(vin_stream* stream, const Reduction& r, int sums, Sum** partials) {
    return scratch_of(stream, r.outputs * r.slices * sums, partials);
}

// y, whose elements are the outputs in row-major order, from the partial sums of one of the reductions; absent:
// nothing.
inline vin_status finish_sum(vin_stream* stream, const vin_tensor& y, const float* partials, int64_t slices,
                             bool added) {
    if (!present(y)) return VIN_OK;
    const vin_tensor dense = dense_like(y);
    const Walk<2> w = walk<2>({&y, &dense});
    return launch_over(w.elements, stream, VIN_KERNEL_OF(add_partials_kernel), f32(y), partials, slices, count(y),
                       (int)added, w);
}

// y [C] += Σ_rows x [R, C]; absent: nothing.
inline vin_status add_column_sums(vin_stream* stream, const vin_tensor& y, const float* x, int64_t rows,
                                  int64_t columns, int64_t stride) {
    if (!present(y) || columns == 0) return VIN_OK;
    const Reduction r = reduction(columns, rows, false);
    float* partials;
    VIN_CHECK(partials_of(stream, r, 1, &partials));
    VIN_CHECK(launch(reduce_grid(r), reduce_block, reduce_shared_bytes<float>(1), stream,
                     VIN_KERNEL_OF(column_sums_kernel), partials, x, stride, r));
    return finish_sum(stream, y, partials, r.slices, true);
}
#endif

}  // namespace cuda
}  // namespace vin
