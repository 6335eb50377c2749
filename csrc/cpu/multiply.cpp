// y = a · b
#include "check.h"
#include "strided.h"

namespace vin {
namespace cpu {
namespace VIN_CPU_ISA {

vin_status multiply(vin_stream* stream, const vin_multiply_args* args) {
    const vin_tensor &y = args->y, &a = args->a, &b = args->b;
    if (vin_status status = expect_like("multiply", "y", y, VIN_DTYPE_F32, VIN_STRIDED_OUTPUT, a)) return status;
    if (vin_status status = expect_like("multiply", "a", a, VIN_DTYPE_F32, VIN_STRIDED, y)) return status;
    if (vin_status status = expect_like("multiply", "b", b, VIN_DTYPE_F32, VIN_STRIDED, y)) return status;
    map(stream, y, a, b, 1, [](vf p, vf q) { return p * q; });
    return VIN_OK;
}

}  // namespace VIN_CPU_ISA
}  // namespace cpu
}  // namespace vin
