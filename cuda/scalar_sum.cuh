// One fp64 number that is the sum of many terms: the losses and sum_squares.
#pragma once
#include "reduce.cuh"

namespace vin {
namespace cuda {

// y = scale · Σ partials, or y += that. In sum_squares.cu.
VIN_KERNEL finish_scalar_kernel(double* y, const double* partials, i64 slices, double scale, int added);
constexpr int scalar_threads = 32;

#if VIN_HOST
// kernel(partials, r, arguments…) calls sum_slices for one output of `terms` terms; then y = scale · the sum, or y +=
// that.
template <class... P>
vin_status sum_to_scalar(vin_stream* stream, const vin_tensor& y, double scale, bool added, int64_t terms,
                         Kernel<double*, Reduction, P...> kernel, std::common_type_t<P>... arguments) {
    const Reduction r = reduction(1, terms, true);
    double* partials;
    VIN_CHECK(partials_of(stream, r, 1, &partials));
    VIN_CHECK(launch(reduce_grid(r), reduce_block, reduce_shared_bytes<double>(1), stream, kernel, partials, r,
                     arguments...));
    return launch({1}, {scalar_threads}, shared_bytes<double>(scalar_threads), stream,
                  VIN_KERNEL_OF(finish_scalar_kernel), f64(y), partials, r.slices, scale, (int)added);
}
#endif

}  // namespace cuda
}  // namespace vin
