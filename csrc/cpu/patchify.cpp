// y [N, S, P] from x [C, N, H, W]: patches of 2 × 2 in row order, S = ⌈H/2⌉ · ⌈W/2⌉, zeros outside the picture.
// Element of a patch: channel · 4 + dy · 2 + dx, or with channels_last (dy · 2 + dx) · (P/4) + channel, where channels
// from C to P/4 are 0.
#include "check.h"

namespace vin::cpu::VIN_CPU_ISA {

vin_status patchify(vin_stream* stream, const vin_patchify_args* args) {
    const vin_tensor &y = args->y, &x = args->x;
    if (vin_status status = expect("x", x, VIN_ROWS, -1, -1, -1, -1)) return status;
    const int64_t C = x.shape[0], N = x.shape[1], height = x.shape[2], width = x.shape[3], rows = (height + 1) / 2,
                  columns = (width + 1) / 2;
    const bool wider = args->channels_last && y.rank == 3 && y.shape[2] % 4 == 0 && y.shape[2] > 4 * C;
    if (vin_status status = expect("y", y, VIN_DENSE, N, rows * columns, wider ? y.shape[2] : 4 * C)) return status;
    const int64_t P = y.shape[2], step = args->channels_last ? 1 : 4, step_patch = args->channels_last ? P / 4 : 1;
    each_row(stream, N * rows, columns * P, [&](int64_t item) {
        const int64_t n = item / rows, row = item % rows;
        float* line = f32(y) + item * columns * P;
        if (wider) memset(line, 0, (size_t)(columns * P) * 4);
        for (int64_t c = 0; c < C; c++)
            for (int64_t inside = 0; inside < 4; inside++) {
                const int64_t h = 2 * row + inside / 2;
                const float* from = at(x, c, n, h);
                float* to = line + inside * step_patch + c * step;
                for (int64_t column = 0, w = inside % 2; column < columns; column++, w += 2)
                    to[column * P] = h < height && w < width ? from[w] : 0.f;
            }
    });
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
