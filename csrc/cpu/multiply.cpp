// y = a · b
#include "strided.h"

namespace vin::cpu::VIN_CPU_ISA {

vin_status multiply(vin_stream* stream, const vin_multiply_args* args) {
    return map(stream, {"y", args->y}, {"a", args->a}, {"b", args->b}, 1, [](vf a, vf b) { return a * b; });
}

}  // namespace vin::cpu::VIN_CPU_ISA
