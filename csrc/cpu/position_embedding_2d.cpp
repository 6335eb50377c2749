// y [rows · columns, C]: e(p) = [sin(p · f_k), cos(p · f_k)] with f_k = 10000^(−2k / (C/2)), k = 0 … C/4 − 1, of the
// column and then of the row; p = index / scale · (base_size / rows or columns). fp64 inside.
#include "check.h"

namespace vin::cpu::VIN_CPU_ISA {

static void embed(float* y, double p, int64_t quarter) {
    for (int64_t k = 0; k < quarter; k++) {
        const double angle = p * ::exp(-9.210340371976182736 * (double)k / (double)quarter);
        y[k] = (float)sin(angle);
        y[quarter + k] = (float)cos(angle);
    }
}

vin_status position_embedding_2d(vin_stream* stream, const vin_position_embedding_2d_args* args) {
    const vin_tensor& y = args->y;
    const int64_t rows = args->rows, columns = args->columns;
    if (rows < 0 || columns < 0)
        return vin_cpu_refuse(VIN_INVALID, "expected no negative size, found %d × %d", args->rows, args->columns);
    if (vin_status status = expect("y", y, VIN_ROWS, rows * columns, -1)) return status;
    if (y.shape[1] % 4)
        return vin_cpu_refuse(VIN_INVALID, "expected a width divisible by 4, found %lld", (long long)y.shape[1]);
    const int64_t quarter = y.shape[1] / 4;
    each_row(stream, rows * columns, 400 * quarter, [&](int64_t i) {
        float* to = at(y, i);
        embed(to, (double)(i % columns) / args->scale * ((double)args->base_size / (double)columns), quarter);
        embed(to + 2 * quarter, (double)(i / columns) / args->scale * ((double)args->base_size / (double)rows),
              quarter);
    });
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
