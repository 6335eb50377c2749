// y[R,N] = residual + gate[group[r]] · activation(x[R,K] · weight[N,K]ᵀ + bias[N])
#include "gemm/output.h"

namespace vin::cpu::VIN_CPU_ISA {

// Too few rows for packing weight to pay: every weight is read once, in place, as dot products along K.
static void few_rows(vin_stream* stream, int64_t R, int64_t N, int64_t K, const LinesAlongK& x,
                     const LinesAlongK& weight, const FinishRows& out) {
    const int64_t groups = divide_up(N, tile_columns), groups_per_task = max(1, 262144 / max(1, K * tile_columns));
    parallel(stream, divide_up(groups, groups_per_task), [&](int64_t task) {
        for (int64_t n = task * groups_per_task * tile_columns; n < min(N, (task + 1) * groups_per_task * tile_columns);
             n += tile_columns) {
            const int columns = (int)min(tile_columns, N - n);
            for (int64_t r = 0; r < R; r++) {
                alignas(64) float tile[tile_columns];
                const float* row = x.data + r * x.stride;
                for (int c = 0; c < columns; c++) {
                    const float* line = weight.data + (n + c) * weight.stride;
                    vf sums[4] = {};
                    int64_t k = 0;
                    for (; k + 4 * W <= K; k += 4 * W)
#pragma GCC unroll 4
                        for (int i = 0; i < 4; i++) sums[i] += load(row + k + i * W) * load(line + k + i * W);
                    for (; k + W <= K; k += W) sums[0] += load(row + k) * load(line + k);
                    if (k < K) sums[1] += load_n(row + k, (int)(K - k)) * load_n(line + k, (int)(K - k));
                    tile[c] = sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
                }
                out(tile, r, 1, n, columns);
            }
        }
    });
}

vin_status linear(vin_stream* stream, const vin_linear_args* args) {
    const vin_tensor &y = args->y, &x = args->x, &weight = args->weight;
    if (vin_status status = expect("x", x, VIN_ROWS, -1, -1)) return status;
    const int64_t R = x.shape[0], K = x.shape[1];
    if (vin_status status = expect("weight", weight, VIN_ROWS, -1, K)) return status;
    const int64_t N = weight.shape[0];
    if (vin_status status = expect("y", y, VIN_ROWS, R, N)) return status;
    if (vin_status status = expect_if_present("bias", args->bias, VIN_DENSE, N)) return status;
    if (vin_status status = expect_if_present("residual", args->residual, VIN_ROWS, R, N)) return status;
    if (present(args->gate)) {
        if (vin_status status = expect("gate", args->gate, VIN_ROWS, -1, N)) return status;
        if (vin_status status = expect_group(args->group, R, args->gate.shape[0])) return status;
    }
    if (args->activation < VIN_ACTIVATION_NONE || args->activation > VIN_ACTIVATION_SILU)
        return vin_cpu_refuse(VIN_INVALID, "expected activation 0 (none), 1 (gelu) or 2 (silu), found %d",
                              (int)args->activation);
    if (R == 0 || N == 0) return VIN_OK;

    const FinishRows out = {f32(y),           f32(args->bias), f32(args->gate),      f32(args->residual),
                            i32(args->group), y.stride[0],     args->gate.stride[0], args->residual.stride[0],
                            args->activation};
    const LinesAlongK rows = {f32(x), x.stride[0]}, columns = {f32(weight), weight.stride[0]};
    if (R <= 4) {
        few_rows(stream, R, N, K, rows, columns, out);
        return VIN_OK;
    }
    return multiply(stream, R, N, K, rows, columns, out);
}

}  // namespace vin::cpu::VIN_CPU_ISA
