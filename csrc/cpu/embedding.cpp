// y [n, D] = table[ids[n]]
#include "check.h"

namespace vin::cpu::VIN_CPU_ISA {

vin_status embedding(vin_stream* stream, const vin_embedding_args* args) {
    const vin_tensor &y = args->y, &table = args->table, &ids = args->ids;
    if (vin_status status = expect("table", table, VIN_ROWS, -1, -1)) return status;
    if (vin_status status = expect_typed("ids", ids, VIN_DTYPE_I32, VIN_DENSE, -1)) return status;
    const int64_t n = ids.shape[0], D = table.shape[1];
    if (vin_status status = expect("y", y, VIN_ROWS, n, D)) return status;
    if (vin_status status = vin_cpu_expect_indices("ids", &ids, table.shape[0])) return status;
    each_row(stream, n, D, [&](int64_t i) { memcpy(at(y, i), at(table, i32(ids)[i]), (size_t)D * 4); });
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
