// y [n, d]: (cos, sin) of position[n] · freqs[d/2], pairs adjacent; fp64 inside.
#include "check.h"

namespace vin {
namespace cpu {
namespace VIN_CPU_ISA {

vin_status rope_table(vin_stream* stream, const vin_rope_table_args* args) {
    const vin_tensor &y = args->y, &position = args->position, &freqs = args->freqs;
    if (vin_status status = expect("rope_table", "position", position, VIN_DTYPE_F32, VIN_DENSE, -1)) return status;
    if (vin_status status = expect("rope_table", "freqs", freqs, VIN_DTYPE_F32, VIN_DENSE, -1)) return status;
    const int64_t n = position.shape[0], half = freqs.shape[0];
    if (vin_status status = expect("rope_table", "y", y, VIN_DTYPE_F32, VIN_ROWS, n, 2 * half)) return status;
    parallel_rows(stream, n, 200 * half, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; i++)
            for (int64_t k = 0; k < half; k++) {
                const double angle = (double)f32(position)[i] * f32(freqs)[k];
                f32(y)[i * y.stride[0] + 2 * k] = (float)cos(angle);
                f32(y)[i * y.stride[0] + 2 * k + 1] = (float)sin(angle);
            }
    });
    return VIN_OK;
}

}  // namespace VIN_CPU_ISA
}  // namespace cpu
}  // namespace vin
