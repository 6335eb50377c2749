// y = ½ x (1 + tanh(√(2/π)(x + 0.044715 x³)))
#include "strided.h"

namespace vin::cpu::VIN_CPU_ISA {

vin_status gelu(vin_stream* stream, const vin_gelu_args* args) {
    return map(stream, {"y", args->y}, {"x", args->x}, 16, [](vf x) { return gelu_of(x); });
}

}  // namespace vin::cpu::VIN_CPU_ISA
