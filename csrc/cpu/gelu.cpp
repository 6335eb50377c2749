// y = ½ x (1 + tanh(√(2/π)(x + 0.044715 x³)))
#include "check.h"
#include "strided.h"

namespace vin {
namespace cpu {
namespace VIN_CPU_ISA {

vin_status gelu(vin_stream* stream, const vin_gelu_args* args) {
    const vin_tensor &y = args->y, &x = args->x;
    if (vin_status status = expect_like("gelu", "y", y, VIN_DTYPE_F32, VIN_STRIDED_OUTPUT, x)) return status;
    if (vin_status status = expect_like("gelu", "x", x, VIN_DTYPE_F32, VIN_STRIDED, y)) return status;
    map(stream, y, x, 16, [](vf v) { return gelu_of(v); });
    return VIN_OK;
}

}  // namespace VIN_CPU_ISA
}  // namespace cpu
}  // namespace vin
