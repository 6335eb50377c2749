// y [n, D] = table[ids[n]]
#include "check.h"

namespace vin {
namespace cpu {
namespace VIN_CPU_ISA {

vin_status embedding(vin_stream* stream, const vin_embedding_args* args) {
    const vin_tensor &y = args->y, &table = args->table, &ids = args->ids;
    if (vin_status status = expect("embedding", "table", table, VIN_DTYPE_F32, VIN_ROWS, -1, -1)) return status;
    if (vin_status status = expect("embedding", "ids", ids, VIN_DTYPE_I32, VIN_DENSE, -1)) return status;
    const int64_t n = ids.shape[0], D = table.shape[1];
    if (vin_status status = expect("embedding", "y", y, VIN_DTYPE_F32, VIN_ROWS, n, D)) return status;
    if (vin_status status = vin_cpu_expect_indices("embedding", "ids", &ids, table.shape[0])) return status;
    parallel_rows(stream, n, D, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; i++)
            memcpy(f32(y) + i * y.stride[0], f32(table) + i32(ids)[i] * table.stride[0], (size_t)D * 4);
    });
    return VIN_OK;
}

}  // namespace VIN_CPU_ISA
}  // namespace cpu
}  // namespace vin
