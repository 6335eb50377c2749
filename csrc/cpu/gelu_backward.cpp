// dx = dy · gelu'(x). With u = 2 √(2/π) (x + 0.044715 x³) and s = sigmoid(u), gelu = x s and gelu' = s + x s (1 − s)
// u'.
#include "strided.h"

namespace vin::cpu::VIN_CPU_ISA {

vin_status gelu_backward(vin_stream* stream, const vin_gelu_backward_args* args) {
    return map(stream, {"dx", args->dx}, {"dy", args->dy}, {"x", args->x}, 20, [](vf dy, vf x) {
        const vf k = set1(1.5957691216f), cubic = set1(0.044715f) * x * x, one = set1(1.f);
        const vf s = sigmoid(k * (x + cubic * x));
        const vf slope = k * (one + set1(3.f) * cubic);
        return dy * (s + x * s * (one - s) * slope);
    });
}

}  // namespace vin::cpu::VIN_CPU_ISA
