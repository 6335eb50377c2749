// y = normals of Philox 4×32-10 (model.md §6) in fp64, stored as fp32. The element index is row-major, or with
// frame_major that of a latent frame first:
// ((frame · C + channel) · H + h) · W + w for y [C, N, H, W]; so a frame's noise depends on the seed and its number
// alone.
#include "../core/philox.h"
#include "check.h"

namespace vin::cpu::VIN_CPU_ISA {

vin_status randn(vin_stream* stream, const vin_randn_args* args) {
    const vin_tensor& y = args->y;
    if (vin_status status = expect_like("y", y, VIN_DENSE, y)) return status;
    if (args->frame_major && y.rank != 4)
        return vin_cpu_refuse(VIN_INVALID, "expected y [C, N, H, W] for frame_major, found rank %d", (int)y.rank);
    const uint64_t seed = (uint64_t)(uint32_t)args->seed_high << 32 | (uint32_t)args->seed_low;
    // Row-major noise is one long plane.
    const int64_t C = args->frame_major ? y.shape[0] : 1, N = args->frame_major ? y.shape[1] : 1,
                  plane = C * N > 0 ? count(y) / (C * N) : 0;
    const int64_t piece = 4096, pieces = (plane + piece - 1) / piece;
    parallel(stream, C * N * pieces, [&](int64_t task) {
        const int64_t at = task % pieces * piece, c = task / pieces / N, n = task / pieces % N;
        philox_fill(f32(y) + (c * N + n) * plane + at, min(piece, plane - at), seed, (uint32_t)args->stream,
                    (uint64_t)((n * C + c) * plane + at));
    });
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
