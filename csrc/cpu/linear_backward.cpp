// of y[R,N] = x[R,K] · weight[N,K]ᵀ + bias[N]:  dx = dy · weight,  dweight += dyᵀ · x,  dbias += Σ_rows dy
#include "gemm/output.h"

namespace vin::cpu::VIN_CPU_ISA {

vin_status linear_backward(vin_stream* stream, const vin_linear_backward_args* args) {
    const vin_tensor &dx = args->dx, &dweight = args->dweight, &dbias = args->dbias, &dy = args->dy, &x = args->x,
                     &weight = args->weight;
    if (vin_status status = expect("dy", dy, VIN_ROWS, -1, -1)) return status;
    const int64_t R = dy.shape[0], N = dy.shape[1];
    if (present(dx)) {
        if (vin_status status = expect("weight", weight, VIN_ROWS, N, -1)) return status;
        const int64_t K = weight.shape[1];
        if (vin_status status = expect("dx", dx, VIN_ROWS, R, K)) return status;
        const LinesAlongK rows = {f32(dy), dy.stride[0]};
        const LinesAcrossK columns = {f32(weight), weight.stride[0]};
        if (vin_status status = multiply(stream, R, K, N, rows, columns, StoreRows{f32(dx), dx.stride[0]}))
            return status;
    }
    if (present(dweight)) {
        if (vin_status status = expect("x", x, VIN_ROWS, R, -1)) return status;
        const int64_t K = x.shape[1];
        if (vin_status status = expect("dweight", dweight, VIN_ROWS, N, K)) return status;
        const LinesAcrossK rows = {f32(dy), dy.stride[0]}, columns = {f32(x), x.stride[0]};
        if (vin_status status = multiply_long(stream, N, K, R, rows, columns, AddRows{f32(dweight), dweight.stride[0]}))
            return status;
    }
    if (present(dbias)) {
        if (vin_status status = expect("dbias", dbias, VIN_DENSE, N)) return status;
        return add_column_sums(stream, f32(dbias), f32(dy), R, N, dy.stride[0]);
    }
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
