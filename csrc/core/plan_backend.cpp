#include "plan_backend.h"

namespace vin {

#define VIN_OP(name, fields) \
    static vin_status plan_##name(vin_stream*, const vin_##name##_args*) { return VIN_OK; }
#include "../ops.def"
#undef VIN_OP

const vin_backend* plan_backend() {
    static const vin_backend table = [] {
        vin_backend backend = {};
        backend.abi = VIN_ABI;
        backend.size = sizeof backend;
        backend.name = "plan";
        backend.build = "dry run";
#define VIN_OP(name, fields) backend.name = &plan_##name;
#include "../ops.def"
#undef VIN_OP
        return backend;
    }();
    return &table;
}

}  // namespace vin
