// loss += scale · ½ Σ (mean² + exp(logvar) − 1 − logvar), in fp64.
#include "moments.cuh"
#include "scalar_sum.cuh"

using namespace vin::cuda;

VIN_KERNEL gaussian_kl_kernel(double* partials, Reduction r, Rows moments, i64 C);

#if VIN_DEVICE
VIN_KERNEL gaussian_kl_kernel(double* partials, Reduction r, Rows moments, i64 C) {
    sum_slices<1>(r, partials, [&](double (&value)[1], i64, i64 i) {
        const float* const mean = row_of(moments, i / C) + i % C;
        const double logvar = clamp_logvar(mean[C]);
        value[0] = (double)*mean * *mean + exp(logvar) - 1 - logvar;
    });
}
VIN_EMULATED_KERNEL(gaussian_kl_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_gaussian_kl(vin_stream* stream, const vin_gaussian_kl_args* args) {
    int64_t R = 0, C = 0;
    VIN_CHECK(expect_moments("gaussian_kl", args->moments, &R, &C));
    VIN_CHECK(expect("gaussian_kl", "loss", args->loss, VIN_DTYPE_F64, DENSE, 1));
    return sum_to_scalar(stream, args->loss, args->scale * 0.5, true, R * C, VIN_KERNEL_OF(gaussian_kl_kernel),
                         rows(args->moments), C);
}
#endif
