// The slots of this instruction set: one per line of ops.def.
#include "check.h"

namespace vin::cpu::VIN_CPU_ISA {

#define VIN_OP(op, fields) vin_status op(vin_stream* stream, const vin_##op##_args* args);
#include "../ops.def"
#undef VIN_OP

void fill_table(vin_backend* backend) {
#define VIN_OP(op, fields) \
    backend->op = [](vin_stream* stream, const vin_##op##_args* args) { \
        vin_cpu_begin(#op); \
        return op(stream, args); \
    };
#include "../ops.def"
#undef VIN_OP
}

}  // namespace vin::cpu::VIN_CPU_ISA
