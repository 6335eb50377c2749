// y = x / 127.5 − 1, from u8.
#include "check.h"
#include "strided.h"

namespace vin {
namespace cpu {
namespace VIN_CPU_ISA {

static inline float value_of(uint8_t x) { return (float)(x / 127.5 - 1); }

vin_status from_pixels(vin_stream* stream, const vin_from_pixels_args* args) {
    const vin_tensor &y = args->y, &x = args->x;
    if (vin_status status = expect_like("from_pixels", "y", y, VIN_DTYPE_F32, VIN_STRIDED_OUTPUT, x)) return status;
    if (vin_status status = expect_like("from_pixels", "x", x, VIN_DTYPE_U8, VIN_STRIDED, y)) return status;
    const Walk<2> w = walk<2>({&y, &x});
    for_each_run(stream, w, 4, [&](const int64_t (&offset)[2], int64_t n) {
        float* to = f32(y) + offset[0];
        const uint8_t* from = (const uint8_t*)x.data + offset[1];
        for (int64_t i = 0; i < n; i++) to[i * w.step[0]] = value_of(from[i * w.step[1]]);
    });
    return VIN_OK;
}

}  // namespace VIN_CPU_ISA
}  // namespace cpu
}  // namespace vin
