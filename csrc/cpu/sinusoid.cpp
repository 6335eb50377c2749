// y [n, D] = cos(x f_k), then sin(x f_k), f_k = exp(−ln(10000) · k / (D/2)). Exponent, frequency and angle are rounded
// to fp32, as published models were trained: at x near 1000 that moves the result by 3e-5, more than any other rounding
// of an evaluation.
#include "check.h"

namespace vin::cpu::VIN_CPU_ISA {

vin_status sinusoid(vin_stream* stream, const vin_sinusoid_args* args) {
    const vin_tensor &y = args->y, &x = args->x;
    if (vin_status status = expect("x", x, VIN_DENSE, -1)) return status;
    if (vin_status status = expect("y", y, VIN_ROWS, x.shape[0], -1)) return status;
    if (y.shape[1] % 2) return vin_cpu_refuse(VIN_INVALID, "expected an even width, found %lld", (long long)y.shape[1]);
    const int64_t half = y.shape[1] / 2;
    each_row(stream, x.shape[0], 200 * half, [&](int64_t i) {
        for (int64_t k = 0; k < half; k++) {
            const float exponent = -9.2103404f * (float)k / (float)half;
            const float frequency = (float)::exp((double)exponent);
            const float angle = f32(x)[i] * frequency;
            at(y, i)[k] = (float)cos((double)angle);
            at(y, i)[half + k] = (float)sin((double)angle);
        }
    });
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
