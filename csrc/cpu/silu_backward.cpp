// dx = dy · s (1 + x (1 − s)), s = sigmoid(x)
#include "check.h"
#include "strided.h"

namespace vin {
namespace cpu {
namespace VIN_CPU_ISA {

vin_status silu_backward(vin_stream* stream, const vin_silu_backward_args* args) {
    const vin_tensor &dx = args->dx, &dy = args->dy, &x = args->x;
    if (vin_status status = expect_like("silu_backward", "dx", dx, VIN_DTYPE_F32, VIN_STRIDED_OUTPUT, x)) return status;
    if (vin_status status = expect_like("silu_backward", "dy", dy, VIN_DTYPE_F32, VIN_STRIDED, dx)) return status;
    if (vin_status status = expect_like("silu_backward", "x", x, VIN_DTYPE_F32, VIN_STRIDED, dx)) return status;
    map(stream, dx, dy, x, 20, [](vf g, vf v) {
        const vf s = sigmoid(v), one = set1(1.f);
        return g * s * (one + v * (one - s));
    });
    return VIN_OK;
}

}  // namespace VIN_CPU_ISA
}  // namespace cpu
}  // namespace vin
