// y [1] = Σ x² in fp64, x dense of any shape.
#include "scalar_sum.cuh"

using namespace vin::cuda;

VIN_KERNEL sum_squares_kernel(double* partials, Reduction r, const float* x);

#if VIN_DEVICE
VIN_KERNEL sum_squares_kernel(double* partials, Reduction r, const float* x) {
    sum_slices<1>(r, partials, [&](double (&value)[1], i64, i64 i) { value[0] = (double)x[i] * x[i]; });
}
VIN_EMULATED_KERNEL(sum_squares_kernel)

VIN_KERNEL finish_scalar_kernel(double* y, const double* partials, i64 slices, double scale, int added) {
    const SharedArray<double> lanes = shared_array<double>(0, scalar_threads);
    const int lane = threadIdx.x;
    double part = 0;
    for (i64 slice = lane; slice < slices; slice += scalar_threads) part += partials[slice];
    lanes[lane] = part;
    __syncthreads();
    if (lane > 0) return;
    double total = 0;
    for (int i = 0; i < scalar_threads; i++) total += lanes[i];
    *y = added ? *y + scale * total : scale * total;
}
VIN_EMULATED_KERNEL(finish_scalar_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_sum_squares(vin_stream* stream, const vin_sum_squares_args* args) {
    const vin_tensor &y = args->y, &x = args->x;
    VIN_CHECK(expect("sum_squares", "y", y, VIN_DTYPE_F64, DENSE, 1));
    VIN_CHECK(expect_like("sum_squares", "x", x, VIN_DTYPE_F32, DENSE, x));
    return sum_to_scalar(stream, y, 1, false, count(x), VIN_KERNEL_OF(sum_squares_kernel), f32(x));
}
#endif
