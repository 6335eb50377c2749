// y u8 = ⌊(clamp(x, −1, 1) + 1) / 2 · 255 + 0.5⌋; NaN becomes 0.
#include "strided.cuh"

using namespace vin::cuda;

VIN_KERNEL to_pixels_kernel(unsigned char* y, const float* x, Walk<2> w);

#if VIN_DEVICE
VIN_KERNEL to_pixels_kernel(unsigned char* y, const float* x, Walk<2> w) {
    for_each_element(w, [&](const i64* at) {
        const float value = x[at[1]];
        const double limited = value > -1.f ? value < 1.f ? value : 1.f : -1.f;
        y[at[0]] = (unsigned char)(int)fma(limited + 1, 127.5, 0.5);
    });
}
VIN_EMULATED_KERNEL(to_pixels_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_to_pixels(vin_stream* stream, const vin_to_pixels_args* args) {
    const vin_tensor &y = args->y, &x = args->x;
    VIN_CHECK(expect_like("to_pixels", "y", y, VIN_DTYPE_U8, STRIDED_OUTPUT, x));
    VIN_CHECK(expect_like("to_pixels", "x", x, VIN_DTYPE_F32, STRIDED, y));
    const Walk<2> w = walk<2>({&y, &x});
    return launch_over(w.elements, stream, VIN_KERNEL_OF(to_pixels_kernel), static_cast<unsigned char*>(y.data), f32(x),
                       w);
}
#endif
