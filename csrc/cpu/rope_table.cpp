// y [n, d]: (cos, sin) of position[n] · freqs[d/2], pairs adjacent; fp64 inside.
#include "check.h"

namespace vin::cpu::VIN_CPU_ISA {

vin_status rope_table(vin_stream* stream, const vin_rope_table_args* args) {
    const vin_tensor &y = args->y, &position = args->position, &freqs = args->freqs;
    if (vin_status status = expect("position", position, VIN_DENSE, -1)) return status;
    if (vin_status status = expect("freqs", freqs, VIN_DENSE, -1)) return status;
    const int64_t n = position.shape[0], half = freqs.shape[0];
    if (vin_status status = expect("y", y, VIN_ROWS, n, 2 * half)) return status;
    each_row(stream, n, 200 * half, [&](int64_t i) {
        for (int64_t k = 0; k < half; k++) {
            const double angle = (double)f32(position)[i] * f32(freqs)[k];
            at(y, i)[2 * k] = (float)cos(angle);
            at(y, i)[2 * k + 1] = (float)sin(angle);
        }
    });
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
