// y [T, 2H, 2W, C] from x [T, H, W, C]: every pixel becomes 2 × 2 of them.
#include "strided.cuh"

using namespace vin::cuda;

VIN_KERNEL upsample_nearest_kernel(float* y, const float* x, i64 items, i64 height, i64 width, i64 C);

#if VIN_DEVICE
VIN_KERNEL upsample_nearest_kernel(float* y, const float* x, i64 items, i64 height, i64 width, i64 C) {
    for_each_item(items, [&](i64 i) {
        const i64 c = i % C, w = i / C % (2 * width), h = i / C / (2 * width) % (2 * height),
                  t = i / C / (2 * width) / (2 * height);
        y[i] = x[((t * height + h / 2) * width + w / 2) * C + c];
    });
}
VIN_EMULATED_KERNEL(upsample_nearest_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_upsample_nearest(vin_stream* stream, const vin_upsample_nearest_args* args) {
    const vin_tensor &y = args->y, &x = args->x;
    VIN_CHECK(expect("upsample_nearest", "x", x, VIN_DTYPE_F32, DENSE, -1, -1, -1, -1));
    const int64_t T = x.shape[0], height = x.shape[1], width = x.shape[2], C = x.shape[3];
    VIN_CHECK(expect("upsample_nearest", "y", y, VIN_DTYPE_F32, DENSE, T, 2 * height, 2 * width, C));
    return launch_over(count(y), stream, VIN_KERNEL_OF(upsample_nearest_kernel), f32(y), f32(x), count(y), height,
                       width, C);
}
#endif
