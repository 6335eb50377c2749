// dtable[ids[n]] += dy[n], in the order of n. An id may occur often, so a task owns 64 columns rather than some rows.
#include "check.h"
#include "rows.h"

namespace vin::cpu::VIN_CPU_ISA {

vin_status embedding_backward(vin_stream* stream, const vin_embedding_backward_args* args) {
    const vin_tensor &dtable = args->dtable, &dy = args->dy, &ids = args->ids;
    if (vin_status status = expect("dy", dy, VIN_ROWS, -1, -1)) return status;
    const int64_t n = dy.shape[0], D = dy.shape[1];
    if (vin_status status = expect_typed("ids", ids, VIN_DTYPE_I32, VIN_DENSE, n)) return status;
    if (vin_status status = expect("dtable", dtable, VIN_ROWS, -1, D)) return status;
    if (vin_status status = vin_cpu_expect_indices("ids", &ids, dtable.shape[0])) return status;
    parallel(stream, (D + 63) / 64, [&](int64_t task) {
        const int64_t first = task * 64, last = min(D, first + 64);
        for (int64_t i = 0; i < n; i++) {
            float* to = at(dtable, i32(ids)[i]);
            const float* from = at(dy, i);
            for (int64_t c = first; c < last; c += W)
                store_up_to(to + c, load_up_to(to + c, last - c) + load_up_to(from + c, last - c), last - c);
        }
    });
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
