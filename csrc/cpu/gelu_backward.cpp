// dx = dy · gelu'(x). With u = 2 √(2/π) (x + 0.044715 x³) and s = sigmoid(u), gelu = x s and gelu' = s + x s (1 − s)
// u'.
#include "check.h"
#include "strided.h"

namespace vin {
namespace cpu {
namespace VIN_CPU_ISA {

vin_status gelu_backward(vin_stream* stream, const vin_gelu_backward_args* args) {
    const vin_tensor &dx = args->dx, &dy = args->dy, &x = args->x;
    if (vin_status status = expect_like("gelu_backward", "dx", dx, VIN_DTYPE_F32, VIN_STRIDED_OUTPUT, x)) return status;
    if (vin_status status = expect_like("gelu_backward", "dy", dy, VIN_DTYPE_F32, VIN_STRIDED, dx)) return status;
    if (vin_status status = expect_like("gelu_backward", "x", x, VIN_DTYPE_F32, VIN_STRIDED, dx)) return status;
    map(stream, dx, dy, x, 20, [](vf g, vf v) {
        const vf k = set1(1.5957691216f), cubic = set1(0.044715f) * v * v, one = set1(1.f);
        const vf s = sigmoid(k * (v + cubic * v));
        const vf slope = k * (one + set1(3.f) * cubic);
        return g * (s + v * s * (one - s) * slope);
    });
    return VIN_OK;
}

}  // namespace VIN_CPU_ISA
}  // namespace cpu
}  // namespace vin
