// y [R, C] = mean + exp(½ logvar) · noise, in fp64 and rounded once.
#include "moments.cuh"

using namespace vin::cuda;

VIN_KERNEL gaussian_sample_kernel(Rows y, Rows moments, Rows noise, i64 R, i64 C);

#if VIN_DEVICE
VIN_KERNEL gaussian_sample_kernel(Rows y, Rows moments, Rows noise, i64 R, i64 C) {
    for_each_item(R * C, [&](i64 i) {
        const i64 r = i / C, c = i % C;
        const float* const mean = row_of(moments, r) + c;
        row_of(y, r)[c] = (float)(*mean + exp(0.5 * clamp_logvar(mean[C])) * row_of(noise, r)[c]);
    });
}
VIN_EMULATED_KERNEL(gaussian_sample_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_gaussian_sample(vin_stream* stream, const vin_gaussian_sample_args* args) {
    const char* const op = "gaussian_sample";
    int64_t R = 0, C = 0;
    VIN_CHECK(expect_moments(op, args->moments, &R, &C));
    VIN_CHECK(expect(op, "y", args->y, VIN_DTYPE_F32, ROWS, R, C));
    VIN_CHECK(expect(op, "noise", args->noise, VIN_DTYPE_F32, ROWS, R, C));
    return launch_over(R * C, stream, VIN_KERNEL_OF(gaussian_sample_kernel), rows(args->y), rows(args->moments),
                       rows(args->noise), R, C);
}
#endif
