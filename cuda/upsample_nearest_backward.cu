// dx [T, H, W, C] = the sum of the 2 × 2 pixels of dy [T, 2H, 2W, C] that came from each.
#include "strided.cuh"

using namespace vin::cuda;

VIN_KERNEL upsample_nearest_backward_kernel(float* dx, const float* dy, i64 items, i64 width, i64 C);

#if VIN_DEVICE
VIN_KERNEL upsample_nearest_backward_kernel(float* dx, const float* dy, i64 items, i64 width, i64 C) {
    const i64 line = 2 * width * C;
    for_each_item(items, [&](i64 i) {
        const i64 c = i % C, w = i / C % width, row = i / C / width;  // row: of T · H
        const float* const from = dy + 2 * row * line + 2 * w * C + c;
        dx[i] = (from[0] + from[C]) + (from[line] + from[line + C]);
    });
}
VIN_EMULATED_KERNEL(upsample_nearest_backward_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_upsample_nearest_backward(vin_stream* stream,
                                                         const vin_upsample_nearest_backward_args* args) {
    const char* const op = "upsample_nearest_backward";
    const vin_tensor &dx = args->dx, &dy = args->dy;
    VIN_CHECK(expect(op, "dx", dx, VIN_DTYPE_F32, DENSE, -1, -1, -1, -1));
    const int64_t width = dx.shape[2], C = dx.shape[3];
    VIN_CHECK(expect(op, "dy", dy, VIN_DTYPE_F32, DENSE, dx.shape[0], 2 * dx.shape[1], 2 * width, C));
    return launch_over(count(dx), stream, VIN_KERNEL_OF(upsample_nearest_backward_kernel), f32(dx), f32(dy), count(dx),
                       width, C);
}
#endif
