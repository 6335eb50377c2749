// y = x / (1 + exp(−x))
#include "strided.h"

namespace vin::cpu::VIN_CPU_ISA {

vin_status silu(vin_stream* stream, const vin_silu_args* args) {
    return map(stream, {"y", args->y}, {"x", args->x}, 16, [](vf x) { return silu_of(x); });
}

}  // namespace vin::cpu::VIN_CPU_ISA
