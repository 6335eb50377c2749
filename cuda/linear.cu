// y[R,N] = residual + gate[group[r]] · activation(x[R,K] · weight[N,K]ᵀ + bias[N])
#include "activations.cuh"
#include "product.cuh"
#include "rows.cuh"

using namespace vin::cuda;

struct LinearOutput {
    float* y;
    const float *bias, *residual;
    i64 y_stride, residual_stride;
    GroupRows gate;
    int activation;
};

VIN_KERNEL linear_kernel(LinearOutput out, AlongK x, AlongK weight, i64 R, i64 N, i64 K);

#if VIN_DEVICE
VIN_KERNEL linear_kernel(LinearOutput out, AlongK x, AlongK weight, i64 R, i64 N, i64 K) {
    const SharedArray<Float4> tiles = shared_array<Float4>(0, 2 * product_tile_numbers(product_threads));
    const ProductPlace p = product_place(N, R);
    float sum[4][4] = {};
    add_product<product_threads>(sum, tiles, x, p.tile_m, weight, p.tile_n, 0, K, p.thread, p.m < R && p.n < N);
    VIN_UNROLL
    for (int i = 0; i < 4; i++) {
        VIN_UNROLL
        for (int j = 0; j < 4; j++) {
            const i64 r = p.m + i, n = p.n + j;
            if (r >= R || n >= N) continue;
            float value = activate(out.activation, out.bias ? sum[i][j] + out.bias[n] : sum[i][j]);
            if (out.gate.data) value *= group_value(out.gate, r, n);
            out.y[r * out.y_stride + n] = out.residual ? out.residual[r * out.residual_stride + n] + value : value;
        }
    }
}
VIN_EMULATED_KERNEL(linear_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_linear(vin_stream* stream, const vin_linear_args* args) {
    const vin_tensor &y = args->y, &x = args->x, &weight = args->weight, &gate = args->gate;
    VIN_CHECK(expect("linear", "x", x, VIN_DTYPE_F32, ROWS, -1, -1));
    const int64_t R = x.shape[0], K = x.shape[1];
    VIN_CHECK(expect("linear", "weight", weight, VIN_DTYPE_F32, ROWS, -1, K));
    const int64_t N = weight.shape[0];
    VIN_CHECK(expect("linear", "y", y, VIN_DTYPE_F32, ROWS, R, N));
    VIN_CHECK(expect_if_present("linear", "bias", args->bias, VIN_DTYPE_F32, DENSE, N));
    VIN_CHECK(expect_if_present("linear", "residual", args->residual, VIN_DTYPE_F32, ROWS, R, N));
    if (present(gate)) {
        VIN_CHECK(expect("linear", "gate", gate, VIN_DTYPE_F32, ROWS, -1, N));
        VIN_CHECK(expect_group("linear", args->group, R, gate.shape[0]));
    }
    if (args->activation < VIN_ACTIVATION_NONE || args->activation > VIN_ACTIVATION_SILU)
        return fail(VIN_INVALID, "linear: expected activation 0 (none), 1 (gelu) or 2 (silu), found %d",
                    (int)args->activation);
    if (R == 0 || N == 0) return VIN_OK;
    const LinearOutput out = {f32(y),          f32(args->bias),          f32(args->residual),
                              y.stride[0],     args->residual.stride[0], group_rows(gate, args->group),
                              args->activation};
    return launch(product_grid(R, N), product_block, product_shared_bytes(), stream, VIN_KERNEL_OF(linear_kernel), out,
                  AlongK{f32(x), x.stride[0], R}, AlongK{f32(weight), weight.stride[0], N}, R, N, K);
}
#endif
