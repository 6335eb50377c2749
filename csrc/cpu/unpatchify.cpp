// y [C, N, H, W] from x [N, S, P], the inverse of patchify: patches of 2 × 2 in row order; what lies outside H × W is
// dropped. Element of a patch: channel · 4 + dy · 2 + dx, or with channels_last (dy · 2 + dx) · (P/4) + channel, where
// channels from C to P/4 are dropped.
#include "check.h"

namespace vin::cpu::VIN_CPU_ISA {

vin_status unpatchify(vin_stream* stream, const vin_unpatchify_args* args) {
    const vin_tensor &y = args->y, &x = args->x;
    if (vin_status status = expect("y", y, VIN_STRIDED_OUTPUT, -1, -1, -1, -1)) return status;
    if (vin_status status = expect("y", y, VIN_ROWS, -1, -1, -1, -1)) return status;
    const int64_t C = y.shape[0], N = y.shape[1], height = y.shape[2], width = y.shape[3], rows = (height + 1) / 2,
                  columns = (width + 1) / 2;
    const bool wider = args->channels_last && x.rank == 3 && x.shape[2] % 4 == 0 && x.shape[2] > 4 * C;
    if (vin_status status = expect("x", x, VIN_DENSE, N, rows * columns, wider ? x.shape[2] : 4 * C)) return status;
    const int64_t P = x.shape[2], step = args->channels_last ? 1 : 4, step_patch = args->channels_last ? P / 4 : 1;
    each_row(stream, C * N * height, width, [&](int64_t item) {
        const int64_t h = item % height, n = item / height % N, c = item / height / N;
        float* to = at(y, c, n, h);
        const float* from = f32(x) + (n * rows + h / 2) * columns * P + h % 2 * 2 * step_patch + c * step;
        for (int64_t w = 0; w < width; w++) to[w] = from[w / 2 * P + w % 2 * step_patch];
    });
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
