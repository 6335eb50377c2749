// flag [1] becomes code + 1 when x [R, C] holds a NaN or Inf and flag is still 0.
#include "check.h"

namespace vin::cpu::VIN_CPU_ISA {

static bool all_finite(const float* x, int64_t n) {
    uint32_t any = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, 4);
        any |= (bits & 0x7f800000u) == 0x7f800000u;  // the exponent of Inf and NaN
    }
    return any == 0;
}

vin_status check_finite(vin_stream* stream, const vin_check_finite_args* args) {
    const vin_tensor &flag = args->flag, &x = args->x;
    if (vin_status status = expect_typed("flag", flag, VIN_DTYPE_I32, VIN_DENSE, 1)) return status;
    if (vin_status status = expect("x", x, VIN_ROWS, -1, -1)) return status;
    const int64_t R = x.shape[0], C = x.shape[1];
    if (i32(flag)[0] != 0) return VIN_OK;
    int32_t found = 0;
    each_row(stream, R, C, [&](int64_t r) {
        if (!all_finite(at(x, r), C)) __atomic_store_n(&found, 1, __ATOMIC_RELAXED);  // every writer writes the same
    });
    if (found) i32(flag)[0] = args->code + 1;
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
