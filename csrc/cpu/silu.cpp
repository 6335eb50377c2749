// y = x / (1 + exp(−x))
#include "check.h"
#include "strided.h"

namespace vin {
namespace cpu {
namespace VIN_CPU_ISA {

vin_status silu(vin_stream* stream, const vin_silu_args* args) {
    const vin_tensor &y = args->y, &x = args->x;
    if (vin_status status = expect_like("silu", "y", y, VIN_DTYPE_F32, VIN_STRIDED_OUTPUT, x)) return status;
    if (vin_status status = expect_like("silu", "x", x, VIN_DTYPE_F32, VIN_STRIDED, y)) return status;
    map(stream, y, x, 16, [](vf v) { return silu_of(v); });
    return VIN_OK;
}

}  // namespace VIN_CPU_ISA
}  // namespace cpu
}  // namespace vin
