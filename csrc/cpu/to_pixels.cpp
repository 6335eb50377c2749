// y u8 = ⌊(clamp(x, −1, 1) + 1) / 2 · 255 + 0.5⌋; NaN becomes 0.
#include "strided.h"

namespace vin::cpu::VIN_CPU_ISA {

static inline uint8_t pixel_of(float x) {
    const double limited = x > -1.f ? x < 1.f ? x : 1.f : -1.f;
    return (uint8_t)(int32_t)((limited + 1) * 127.5 + 0.5);
}

vin_status to_pixels(vin_stream* stream, const vin_to_pixels_args* args) {
    const vin_tensor &y = args->y, &x = args->x;
    if (vin_status status = expect_like("y", y, VIN_STRIDED_OUTPUT, x, VIN_DTYPE_U8)) return status;
    if (vin_status status = expect_like("x", x, VIN_STRIDED, y)) return status;
    const Walk<2> w = walk<2>({&y, &x});
    for_each_run(stream, w, 4, [&](const int64_t (&offset)[2], int64_t n) {
        uint8_t* to = (uint8_t*)y.data + offset[0];
        const float* from = f32(x) + offset[1];
        if (w.step[0] == 1 && w.step[1] == 1)
            for (int64_t i = 0; i < n; i++) to[i] = pixel_of(from[i]);
        else
            for (int64_t i = 0; i < n; i++) to[i * w.step[0]] = pixel_of(from[i * w.step[1]]);
    });
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
