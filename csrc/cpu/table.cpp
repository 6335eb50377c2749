// The slots of this instruction set: one per line of ops.def.
#include "isa.h"

namespace vin {
namespace cpu {
namespace VIN_CPU_ISA {

#define VIN_OP(name, fields) vin_status name(vin_stream* stream, const vin_##name##_args* args);
#include "../ops.def"
#undef VIN_OP

void fill_table(vin_backend* backend) {
#define VIN_OP(name, fields) backend->name = name;
#include "../ops.def"
#undef VIN_OP
}

}  // namespace VIN_CPU_ISA
}  // namespace cpu
}  // namespace vin
