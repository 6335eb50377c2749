// dmoments [R, 2C] = scale · (mean, ½ (exp(logvar) − 1)), the second half 0 where the clamp holds logvar.
#include "moments.cuh"

using namespace vin::cuda;

VIN_KERNEL gaussian_kl_backward_kernel(Rows dmoments, Rows moments, double scale, i64 R, i64 C);

#if VIN_DEVICE
VIN_KERNEL gaussian_kl_backward_kernel(Rows dmoments, Rows moments, double scale, i64 R, i64 C) {
    for_each_item(R * C, [&](i64 i) {
        const i64 r = i / C, c = i % C;
        const float* const mean = row_of(moments, r) + c;
        const double slope = clamp_slope(mean[C]) * 0.5 * (exp(clamp_logvar(mean[C])) - 1);
        float* const to = row_of(dmoments, r) + c;
        to[0] = (float)(scale * *mean);
        to[C] = (float)(scale * slope);
    });
}
VIN_EMULATED_KERNEL(gaussian_kl_backward_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_gaussian_kl_backward(vin_stream* stream, const vin_gaussian_kl_backward_args* args) {
    int64_t R = 0, C = 0;
    VIN_CHECK(expect_moments("gaussian_kl_backward", args->moments, &R, &C));
    VIN_CHECK(expect("gaussian_kl_backward", "dmoments", args->dmoments, VIN_DTYPE_F32, ROWS, R, 2 * C));
    return launch_over(R * C, stream, VIN_KERNEL_OF(gaussian_kl_backward_kernel), rows(args->dmoments),
                       rows(args->moments), (double)args->scale, R, C);
}
#endif
