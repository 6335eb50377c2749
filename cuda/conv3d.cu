// y[t,h,w,o] = residual + bias[o] + Σ_{a,b,c,i} weight[o,i,a,b,c] · x[t·stride_t − pad_t + a, h·stride_s − pad_s + b,
// w·stride_s − pad_s + c, i] as one product: windows of x [T'·H'·W', kt·kh·kw·I] by weight [kt·kh·kw·I, O], both
// gathered while their tiles are loaded.
#include "window.cuh"

using namespace vin::cuda;

VIN_KERNEL conv3d_kernel(float* y, WindowsAlongK x, WeightAlongK weight, const float* bias, const float* residual,
                         i64 pixels, i64 O, i64 K);

#if VIN_DEVICE
VIN_KERNEL conv3d_kernel(float* y, WindowsAlongK x, WeightAlongK weight, const float* bias, const float* residual,
                         i64 pixels, i64 O, i64 K) {
    const SharedArray<Float4> tiles = shared_array<Float4>(0, 2 * product_tile_numbers(product_threads));
    const ProductPlace p = product_place(O, pixels);
    float sum[4][4] = {};
    add_product<product_threads>(sum, tiles, x, p.tile_m, weight, p.tile_n, 0, K, p.thread, p.m < pixels && p.n < O);
    for (int i = 0; i < 4 && p.m + i < pixels; i++)
        for (int j = 0; j < 4 && p.n + j < O; j++) {
            const i64 at = (p.m + i) * O + p.n + j;
            const float value = bias ? sum[i][j] + bias[p.n + j] : sum[i][j];
            y[at] = residual ? residual[at] + value : value;
        }
}
VIN_EMULATED_KERNEL(conv3d_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_conv3d(vin_stream* stream, const vin_conv3d_args* args) {
    const vin_tensor &y = args->y, &x = args->x, &weight = args->weight;
    VIN_CHECK(expect("conv3d", "x", x, VIN_DTYPE_F32, DENSE, -1, -1, -1, -1));
    VIN_CHECK(expect("conv3d", "weight", weight, VIN_DTYPE_F32, DENSE, -1, x.shape[3], -1, -1, -1));
    const int64_t O = weight.shape[0], I = weight.shape[1];
    const int kt = (int)weight.shape[2], kh = (int)weight.shape[3], kw = (int)weight.shape[4];
    VIN_CHECK(expect("conv3d", "y", y, VIN_DTYPE_F32, DENSE, -1, -1, -1, O));
    VIN_CHECK(expect_if_present("conv3d", "bias", args->bias, VIN_DTYPE_F32, DENSE, O));
    if (present(args->residual)) VIN_CHECK(expect_like("conv3d", "residual", args->residual, VIN_DTYPE_F32, DENSE, y));
    const int64_t K = weight.shape[2] * weight.shape[3] * weight.shape[4] * I, pixels = count(y) / (O ? O : 1);
    VIN_CHECK(expect_window("conv3d", K, args->stride_t, args->stride_s));
    if (count(y) == 0) return VIN_OK;
    const Windows windows = {
        f32(x),     x.shape[0], x.shape[1], x.shape[2],     (int)I,         kt,          kh,          kw,
        y.shape[0], y.shape[1], y.shape[2], args->stride_t, args->stride_s, args->pad_t, args->pad_s, args->pad_s};
    const WeightAlongK lines = {f32(weight), O,          K,         (int64_t)kt * kh * kw, (int)I, kh, kw,
                                {kt, 0, 1},  {kh, 0, 1}, {kw, 0, 1}};
    return launch(product_grid(pixels, O), product_block, product_shared_bytes(), stream, VIN_KERNEL_OF(conv3d_kernel),
                  f32(y), WindowsAlongK{windows}, lines, f32(args->bias), f32(args->residual), pixels, O, K);
}
#endif
