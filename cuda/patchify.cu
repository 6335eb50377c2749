// y [N, S, P], the patches of x [C, N, H, W]: zeros outside the picture and in channels from C on.
#include "patches.cuh"

using namespace vin::cuda;

VIN_KERNEL patchify_kernel(Patches y, Pictures x);

#if VIN_DEVICE
VIN_KERNEL patchify_kernel(Patches y, Pictures x) {
    for_each_item(x.N * y.count * y.P, [&](i64 i) {
        const i64 element = i % y.P, patch = i / y.P % y.count, n = i / y.P / y.count;
        const i64 inside = y.channels_last ? element / (y.P / 4) : element % 4,
                  c = y.channels_last ? element % (y.P / 4) : element / 4;
        const i64 h = patch / y.columns * 2 + inside / 2, w = patch % y.columns * 2 + inside % 2;
        y.data[i] = c < x.C && h < x.height && w < x.width ? picture_element(x, c, n, h, w) : 0.f;
    });
}
VIN_EMULATED_KERNEL(patchify_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_patchify(vin_stream* stream, const vin_patchify_args* args) {
    Patches y;
    VIN_CHECK(patches_of("patchify", "x", args->x, "y", args->y, args->channels_last, &y));
    return launch_over(count(args->y), stream, VIN_KERNEL_OF(patchify_kernel), y, pictures_of(args->x));
}
#endif
