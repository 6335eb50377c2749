// of y[R,N] = x[R,K] · weight[N,K]ᵀ + bias[N]:  dx = dy · weight,  dweight += dyᵀ · x,  dbias += Σ_rows dy
#include "check.h"
#include "gemm/output.h"

namespace vin {
namespace cpu {
namespace VIN_CPU_ISA {

vin_status linear_backward(vin_stream* stream, const vin_linear_backward_args* args) {
    const vin_tensor &dx = args->dx, &dweight = args->dweight, &dbias = args->dbias, &dy = args->dy, &x = args->x,
                     &weight = args->weight;
    if (vin_status status = expect("linear_backward", "dy", dy, VIN_DTYPE_F32, VIN_ROWS, -1, -1)) return status;
    const int64_t R = dy.shape[0], N = dy.shape[1];
    if (present(dx)) {
        if (vin_status status = expect("linear_backward", "weight", weight, VIN_DTYPE_F32, VIN_ROWS, N, -1))
            return status;
        const int64_t K = weight.shape[1];
        if (vin_status status = expect("linear_backward", "dx", dx, VIN_DTYPE_F32, VIN_ROWS, R, K)) return status;
        const LinesAlongK rows = {f32(dy), dy.stride[0]};
        const LinesAcrossK columns = {f32(weight), weight.stride[0]};
        if (vin_status status =
                multiply(stream, "linear_backward", R, K, N, rows, columns, StoreRows{f32(dx), dx.stride[0]}))
            return status;
    }
    if (present(dweight)) {
        if (vin_status status = expect("linear_backward", "x", x, VIN_DTYPE_F32, VIN_ROWS, R, -1)) return status;
        const int64_t K = x.shape[1];
        if (vin_status status = expect("linear_backward", "dweight", dweight, VIN_DTYPE_F32, VIN_ROWS, N, K))
            return status;
        const LinesAcrossK rows = {f32(dy), dy.stride[0]}, columns = {f32(x), x.stride[0]};
        if (vin_status status = multiply_long(stream, "linear_backward", N, K, R, rows, columns,
                                              AddRows{f32(dweight), dweight.stride[0]}))
            return status;
    }
    if (present(dbias)) {
        if (vin_status status = expect("linear_backward", "dbias", dbias, VIN_DTYPE_F32, VIN_DENSE, N)) return status;
        return add_column_sums(stream, "linear_backward", f32(dbias), f32(dy), R, N, dy.stride[0]);
    }
    return VIN_OK;
}

}  // namespace VIN_CPU_ISA
}  // namespace cpu
}  // namespace vin
