// y [C, N, H, W] from its patches x [N, S, P]: what lies outside H × W, and channels from C on, is dropped.
#include "patches.cuh"

using namespace vin::cuda;

VIN_KERNEL unpatchify_kernel(Pictures y, Patches x);

#if VIN_DEVICE
VIN_KERNEL unpatchify_kernel(Pictures y, Patches x) {
    for_each_item(y.C * y.N * y.height * y.width, [&](i64 i) {
        const i64 w = i % y.width, h = i / y.width % y.height, n = i / y.width / y.height % y.N,
                  c = i / y.width / y.height / y.N;
        const i64 inside = h % 2 * 2 + w % 2, patch = h / 2 * x.columns + w / 2;
        const i64 element = x.channels_last ? inside * (x.P / 4) + c : c * 4 + inside;
        picture_element(y, c, n, h, w) = x.data[(n * x.count + patch) * x.P + element];
    });
}
VIN_EMULATED_KERNEL(unpatchify_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_unpatchify(vin_stream* stream, const vin_unpatchify_args* args) {
    Patches x;
    VIN_CHECK(expect("unpatchify", "y", args->y, VIN_DTYPE_F32, STRIDED_OUTPUT, -1, -1, -1, -1));
    VIN_CHECK(patches_of("unpatchify", "y", args->y, "x", args->x, args->channels_last, &x));
    return launch_over(count(args->y), stream, VIN_KERNEL_OF(unpatchify_kernel), pictures_of(args->y), x);
}
#endif
