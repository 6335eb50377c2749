// of y[R,N] = x[R,K] · weight[N,K]ᵀ + bias[N]:  dx = dy · weight,  dweight += dyᵀ · x,  dbias += Σ_rows dy
#include "long_product.cuh"

using namespace vin::cuda;

VIN_KERNEL linear_input_gradient_kernel(float* dx, i64 dx_stride, AlongK dy, AcrossK weight, i64 R, i64 K, i64 N);
VIN_KERNEL linear_weight_gradient_kernel(float* partials, AcrossK dy, AcrossK x, LongProduct s);

#if VIN_DEVICE
VIN_KERNEL linear_input_gradient_kernel(float* dx, i64 dx_stride, AlongK dy, AcrossK weight, i64 R, i64 K, i64 N) {
    const SharedArray<Float4> tiles = shared_array<Float4>(0, 2 * product_tile_numbers(product_threads));
    const ProductPlace p = product_place(K, R);
    float sum[4][4] = {};
    add_product<product_threads>(sum, tiles, dy, p.tile_m, weight, p.tile_n, 0, N, p.thread, p.m < R && p.n < K);
    for (int i = 0; i < 4 && p.m + i < R; i++)
        for (int j = 0; j < 4 && p.n + j < K; j++) dx[(p.m + i) * dx_stride + p.n + j] = sum[i][j];
}
VIN_EMULATED_KERNEL(linear_input_gradient_kernel)

VIN_KERNEL linear_weight_gradient_kernel(float* partials, AcrossK dy, AcrossK x, LongProduct s) {
    multiply_slice(s, partials, dy, x);
}
VIN_EMULATED_KERNEL(linear_weight_gradient_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_linear_backward(vin_stream* stream, const vin_linear_backward_args* args) {
    const char* const op = "linear_backward";
    const vin_tensor &dx = args->dx, &dweight = args->dweight, &dbias = args->dbias, &dy = args->dy, &x = args->x,
                     &weight = args->weight;
    VIN_CHECK(expect(op, "dy", dy, VIN_DTYPE_F32, ROWS, -1, -1));
    const int64_t R = dy.shape[0], N = dy.shape[1];
    if (present(dx)) {
        VIN_CHECK(expect(op, "weight", weight, VIN_DTYPE_F32, ROWS, N, -1));
        VIN_CHECK(expect(op, "dx", dx, VIN_DTYPE_F32, ROWS, R, weight.shape[1]));
    }
    if (present(dweight)) {
        VIN_CHECK(expect(op, "x", x, VIN_DTYPE_F32, ROWS, R, -1));
        VIN_CHECK(expect(op, "dweight", dweight, VIN_DTYPE_F32, ROWS, N, x.shape[1]));
    }
    VIN_CHECK(expect_if_present(op, "dbias", dbias, VIN_DTYPE_F32, DENSE, N));

    if (present(dx) && count(dx) > 0)
        VIN_CHECK(launch(product_grid(R, weight.shape[1]), product_block, product_shared_bytes(), stream,
                         VIN_KERNEL_OF(linear_input_gradient_kernel), f32(dx), dx.stride[0],
                         AlongK{f32(dy), dy.stride[0], R}, AcrossK{f32(weight), weight.stride[0], weight.shape[1]}, R,
                         weight.shape[1], N));
    if (present(dweight) && count(dweight) > 0 && R > 0) {
        const LongProduct s = long_product(N, x.shape[1], R);
        float* partials;
        VIN_CHECK(scratch_of(stream, partial_numbers(s), &partials));
        VIN_CHECK(launch(long_product_grid(s), product_block, product_shared_bytes(), stream,
                         VIN_KERNEL_OF(linear_weight_gradient_kernel), partials, AcrossK{f32(dy), dy.stride[0], N},
                         AcrossK{f32(x), x.stride[0], s.N}, s));
        VIN_CHECK(finish_sum(stream, dweight, partials, s.slices, true));
    }
    return add_column_sums(stream, dbias, f32(dy), R, N, dy.stride[0]);
}
#endif
