// Operands of one shape with any strides: dimensions that lie next to each other in every operand are merged, then a
// thread takes elements one grid apart.
#pragma once
#include "device.cuh"

namespace vin {
namespace cuda {

// N operands, the first one the output.
template <int N>
struct Walk {
    int rank;
    i64 elements, shape[5], stride[N][5];
};

#if VIN_DEVICE
// Where element i, counted row-major in the walk's dimensions, lies in each operand.
template <int N>
VIN_DEVICE_FUNCTION void offsets_of(const Walk<N>& w, i64 i, i64 (&offset)[N]) {
    for (int k = 0; k < N; k++) offset[k] = 0;
    for (int axis = w.rank - 1; axis > 0; axis--) {
        const i64 next = i / w.shape[axis], index = i - next * w.shape[axis];
        for (int k = 0; k < N; k++) offset[k] += index * w.stride[k][axis];
        i = next;
    }
    for (int k = 0; k < N; k++) offset[k] += i * w.stride[k][0];
}

// body(offset[N]) for each element.
template <int N, class Body>
VIN_DEVICE_FUNCTION void for_each_element(const Walk<N>& w, const Body& body) {
    const i64 step = (i64)gridDim.x * blockDim.x;
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < w.elements; i += step) {
        i64 offset[N];
        offsets_of(w, i, offset);
        body(offset);
    }
}

// body(i) for i from 0 to items − 1.
template <class Body>
VIN_DEVICE_FUNCTION void for_each_item(i64 items, const Body& body) {
    const i64 step = (i64)gridDim.x * blockDim.x;
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < items; i += step) body(i);
}
#endif

#if VIN_HOST
constexpr int element_threads = 256;    // 8 such blocks fill a multiprocessor: no shared memory, few registers
constexpr int elements_per_thread = 4;  // so that a thread has several loads in flight

// A launch of kernel(arguments…) that goes through `items` with for_each_element or for_each_item. Nothing to do: no
// launch.
template <class... P>
vin_status launch_over(int64_t items, vin_stream* stream, Kernel<P...> kernel, std::common_type_t<P>... arguments) {
    if (items == 0) return VIN_OK;
    return launch(grid_over(items, element_threads * elements_per_thread), {element_threads}, 0, stream, kernel,
                  arguments...);
}

// The same shape, row-major without gaps.
inline vin_tensor dense_like(vin_tensor t) {
    int64_t stride = 1;
    for (int i = t.rank - 1; i >= 0; i--) {
        t.stride[i] = stride;
        stride *= t.shape[i];
    }
    return t;
}

template <int N>
Walk<N> walk(const vin_tensor* const (&operands)[N]) {
    const vin_tensor& y = *operands[0];
    // The output's own order, so that it is written as contiguously as it lies.
    int order[VIN_MAX_RANK], rank = 0;
    for (int i = 0; i < y.rank; i++) {
        if (y.shape[i] == 1) continue;
        int at = rank++;
        for (; at > 0 && y.stride[order[at - 1]] < y.stride[i]; at--) order[at] = order[at - 1];
        order[at] = i;
    }
    Walk<N> w = {};
    w.elements = count(y);
    for (int i = 0; i < rank; i++) {
        const int d = order[i];
        bool adjacent = w.rank > 0;
        for (int k = 0; k < N && adjacent; k++)
            adjacent = w.stride[k][w.rank - 1] == operands[k]->stride[d] * y.shape[d];
        if (!adjacent) w.shape[w.rank++] = 1;
        w.shape[w.rank - 1] *= y.shape[d];
        for (int k = 0; k < N; k++) w.stride[k][w.rank - 1] = operands[k]->stride[d];
    }
    return w;
}
#endif

}  // namespace cuda
}  // namespace vin
