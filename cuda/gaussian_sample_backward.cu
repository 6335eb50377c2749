// dmoments [R, 2C] = (dy, dy · noise · ½ exp(½ logvar)), the second half 0 where the clamp holds logvar.
#include "moments.cuh"

using namespace vin::cuda;

VIN_KERNEL gaussian_sample_backward_kernel(Rows dmoments, Rows dy, Rows moments, Rows noise, i64 R, i64 C);

#if VIN_DEVICE
VIN_KERNEL gaussian_sample_backward_kernel(Rows dmoments, Rows dy, Rows moments, Rows noise, i64 R, i64 C) {
    for_each_item(R * C, [&](i64 i) {
        const i64 r = i / C, c = i % C;
        const float g = row_of(dy, r)[c], logvar = row_of(moments, r)[C + c];
        const double slope = clamp_slope(logvar) * 0.5 * exp(0.5 * clamp_logvar(logvar));
        float* const to = row_of(dmoments, r) + c;
        to[0] = g;
        to[C] = (float)(slope * g * row_of(noise, r)[c]);
    });
}
VIN_EMULATED_KERNEL(gaussian_sample_backward_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_gaussian_sample_backward(vin_stream* stream,
                                                        const vin_gaussian_sample_backward_args* args) {
    const char* const op = "gaussian_sample_backward";
    int64_t R = 0, C = 0;
    VIN_CHECK(expect_moments(op, args->moments, &R, &C));
    VIN_CHECK(expect(op, "dmoments", args->dmoments, VIN_DTYPE_F32, ROWS, R, 2 * C));
    VIN_CHECK(expect(op, "dy", args->dy, VIN_DTYPE_F32, ROWS, R, C));
    VIN_CHECK(expect(op, "noise", args->noise, VIN_DTYPE_F32, ROWS, R, C));
    return launch_over(R * C, stream, VIN_KERNEL_OF(gaussian_sample_backward_kernel), rows(args->dmoments),
                       rows(args->dy), rows(args->moments), rows(args->noise), R, C);
}
#endif
