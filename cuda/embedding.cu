// y[n, D] = table[ids[n]]. What the ids are only the device knows: a row whose id is not in the table becomes NaN.
#include "rows.cuh"
#include "strided.cuh"

using namespace vin::cuda;

VIN_KERNEL embedding_kernel(Rows y, GroupRows table, i64 n, i64 D);

#if VIN_DEVICE
VIN_KERNEL embedding_kernel(Rows y, GroupRows table, i64 n, i64 D) {
    for_each_item(n * D, [&](i64 i) { row_of(y, i / D)[i % D] = group_value(table, i / D, i % D); });
}
VIN_EMULATED_KERNEL(embedding_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_embedding(vin_stream* stream, const vin_embedding_args* args) {
    const vin_tensor &table = args->table, &ids = args->ids;
    VIN_CHECK(expect("embedding", "table", table, VIN_DTYPE_F32, ROWS, -1, -1));
    VIN_CHECK(expect("embedding", "ids", ids, VIN_DTYPE_I32, DENSE, -1));
    const int64_t n = ids.shape[0], D = table.shape[1];
    VIN_CHECK(expect("embedding", "y", args->y, VIN_DTYPE_F32, ROWS, n, D));
    return launch_over(n * D, stream, VIN_KERNEL_OF(embedding_kernel), rows(args->y), group_rows(table, ids), n, D);
}
#endif
