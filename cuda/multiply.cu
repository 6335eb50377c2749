// y = a · b
#include "strided.cuh"

using namespace vin::cuda;

VIN_KERNEL multiply_kernel(float* y, const float* a, const float* b, Walk<3> w);

#if VIN_DEVICE
VIN_KERNEL multiply_kernel(float* y, const float* a, const float* b, Walk<3> w) {
    for_each_element(w, [&](const i64* at) { y[at[0]] = a[at[1]] * b[at[2]]; });
}
VIN_EMULATED_KERNEL(multiply_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_multiply(vin_stream* stream, const vin_multiply_args* args) {
    const vin_tensor &y = args->y, &a = args->a, &b = args->b;
    VIN_CHECK(expect_like("multiply", "y", y, VIN_DTYPE_F32, STRIDED_OUTPUT, a));
    VIN_CHECK(expect_like("multiply", "a", a, VIN_DTYPE_F32, STRIDED, y));
    VIN_CHECK(expect_like("multiply", "b", b, VIN_DTYPE_F32, STRIDED, y));
    const Walk<3> w = walk<3>({&y, &a, &b});
    return launch_over(w.elements, stream, VIN_KERNEL_OF(multiply_kernel), f32(y), f32(a), f32(b), w);
}
#endif
