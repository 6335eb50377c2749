// y = normals of Philox 4×32-10 (model.md §6) in fp64, stored as fp32: the same bits as on the CPU. The element index
// is row-major, or with frame_major that of a latent frame first: ((frame · C + channel) · H + h) · W + w for y [C, N,
// H, W]; so a frame's noise depends on the seed and its number alone.
#include "../csrc/core/philox.h"
#include "strided.cuh"

using namespace vin::cuda;

VIN_KERNEL randn_kernel(float* y, i64 elements, i64 C, i64 N, i64 plane, unsigned seed_low, unsigned seed_high,
                        unsigned number);

#if VIN_DEVICE
// A thread per Philox block of four normals.
VIN_KERNEL randn_kernel(float* y, i64 elements, i64 C, i64 N, i64 plane, unsigned seed_low, unsigned seed_high,
                        unsigned number) {
    const unsigned long long seed = (unsigned long long)seed_high << 32 | seed_low;
    for_each_item((elements + 3) / 4, [&](i64 block) {
        double normals[4];
        vin::philox_normals(vin::philox_block(seed, number, (unsigned long long)block), normals);
        for (int i = 0; i < 4 && 4 * block + i < elements; i++) {
            const i64 element = 4 * block + i, line = element / plane, n = line / C, c = line - n * C;
            y[(c * N + n) * plane + (element - line * plane)] = (float)normals[i];
        }
    });
}
VIN_EMULATED_KERNEL(randn_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_randn(vin_stream* stream, const vin_randn_args* args) {
    const vin_tensor& y = args->y;
    VIN_CHECK(expect_like("randn", "y", y, VIN_DTYPE_F32, DENSE, y));
    if (args->frame_major && y.rank != 4)
        return fail(VIN_INVALID, "randn: expected y [C, N, H, W] for frame_major, found rank %d", (int)y.rank);
    const int64_t elements = count(y);
    if (elements == 0) return VIN_OK;
    // Row-major noise is one long plane.
    const int64_t C = args->frame_major ? y.shape[0] : 1, N = args->frame_major ? y.shape[1] : 1;
    return launch_over(divide_up(elements, 4), stream, VIN_KERNEL_OF(randn_kernel), f32(y), elements, C, N,
                       elements / (C * N), (unsigned)args->seed_low, (unsigned)args->seed_high, (unsigned)args->stream);
}
#endif
