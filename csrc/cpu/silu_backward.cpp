// dx = dy · s (1 + x (1 − s)), s = sigmoid(x)
#include "strided.h"

namespace vin::cpu::VIN_CPU_ISA {

vin_status silu_backward(vin_stream* stream, const vin_silu_backward_args* args) {
    return map(stream, {"dx", args->dx}, {"dy", args->dy}, {"x", args->x}, 20, [](vf dy, vf x) {
        const vf s = sigmoid(x), one = set1(1.f);
        return dy * s * (one + x * (one - s));
    });
}

}  // namespace vin::cpu::VIN_CPU_ISA
