// Gradients of conv3d. With p = (t,h,w) an output place:
//   dx[q,i] = Σ_{a,o} dy[(q + pad − a) / stride, o] · weight[o,i,a] over the taps a for which the division is exact,
//   dweight[o,i,a] += Σ_p dy[p,o] · x[p·stride − pad + a, i],   dbias[o] += Σ_p dy[p,o].
#include "long_product.cuh"
#include "window.cuh"

using namespace vin::cuda;

// Input places q = stride · u + phase along one axis use the taps first, first + stride, … only. Counted backwards,
// these are the taps of a convolution over dy with stride 1 whose window for u starts at u − pad.
struct ConvAxis {
    i64 places;  // number of u
    int phase, stride, pad;
    Taps taps;
};
// dx [T, height, width, channels] at the places of one phase of each axis.
struct ConvPlaces {
    float* dx;
    i64 height, width, channels;
    ConvAxis t, h, w;
};

VIN_KERNEL conv3d_input_gradient_kernel(ConvPlaces out, WindowsAlongK dy, WeightAlongK weight, i64 places, i64 K);
VIN_KERNEL conv3d_weight_gradient_kernel(float* partials, AcrossK dy, WindowsAcrossK x, LongProduct s);

#if VIN_DEVICE
VIN_KERNEL conv3d_input_gradient_kernel(ConvPlaces out, WindowsAlongK dy, WeightAlongK weight, i64 places, i64 K) {
    const SharedArray<Float4> tiles = shared_array<Float4>(0, 2 * product_tile_numbers(product_threads));
    const ProductPlace p = product_place(out.channels, places);
    float sum[4][4] = {};
    add_product<product_threads>(sum, tiles, dy, p.tile_m, weight, p.tile_n, 0, K, p.thread,
                                 p.m < places && p.n < out.channels);
    for (int i = 0; i < 4 && p.m + i < places; i++) {
        const i64 line = (p.m + i) / out.w.places, at_t = line / out.h.places * out.t.stride + out.t.phase,
                  at_h = line % out.h.places * out.h.stride + out.h.phase,
                  at_w = (p.m + i) % out.w.places * out.w.stride + out.w.phase;
        float* const to = out.dx + ((at_t * out.height + at_h) * out.width + at_w) * out.channels;
        for (int j = 0; j < 4 && p.n + j < out.channels; j++) to[p.n + j] = sum[i][j];
    }
}
VIN_EMULATED_KERNEL(conv3d_input_gradient_kernel)

VIN_KERNEL conv3d_weight_gradient_kernel(float* partials, AcrossK dy, WindowsAcrossK x, LongProduct s) {
    multiply_slice(s, partials, dy, x);
}
VIN_EMULATED_KERNEL(conv3d_weight_gradient_kernel)
#endif

#if VIN_HOST
static ConvAxis phase_of(int64_t size, int kernel, int stride, int pad, int phase) {
    const int first = ((phase + pad) % stride + stride) % stride,
              taps = kernel > first ? (int)divide_up(kernel - first, stride) : 0;
    const int place = (phase + pad - first) / stride;
    return {size > phase ? divide_up(size - phase, stride) : 0,
            phase,
            stride,
            taps - 1 - place,
            {taps, first + (taps - 1) * stride, -stride}};
}

extern "C" vin_status vin_cuda_conv3d_backward(vin_stream* stream, const vin_conv3d_backward_args* args) {
    const char* const op = "conv3d_backward";
    const vin_tensor &dx = args->dx, &dweight = args->dweight, &dy = args->dy, &x = args->x, &weight = args->weight;
    VIN_CHECK(expect(op, "x", x, VIN_DTYPE_F32, DENSE, -1, -1, -1, -1));
    VIN_CHECK(expect(op, "weight", weight, VIN_DTYPE_F32, DENSE, -1, x.shape[3], -1, -1, -1));
    const int64_t O = weight.shape[0], I = weight.shape[1];
    const int kt = (int)weight.shape[2], kh = (int)weight.shape[3], kw = (int)weight.shape[4];
    VIN_CHECK(expect(op, "dy", dy, VIN_DTYPE_F32, DENSE, -1, -1, -1, O));
    if (present(dx)) VIN_CHECK(expect_like(op, "dx", dx, VIN_DTYPE_F32, DENSE, x));
    if (present(dweight)) VIN_CHECK(expect_like(op, "dweight", dweight, VIN_DTYPE_F32, DENSE, weight));
    VIN_CHECK(expect_if_present(op, "dbias", args->dbias, VIN_DTYPE_F32, DENSE, O));
    const int64_t taps = weight.shape[2] * weight.shape[3] * weight.shape[4],
                  pixels = dy.shape[0] * dy.shape[1] * dy.shape[2];
    const int st = args->stride_t, ss = args->stride_s;
    VIN_CHECK(expect_window(op, taps * (I > O ? I : O), st, ss));

    if (present(dx) && count(dx) > 0)
        for (int phase = 0; phase < st * ss * ss; phase++) {
            const ConvAxis t = phase_of(x.shape[0], kt, st, args->pad_t, phase / (ss * ss)),
                           h = phase_of(x.shape[1], kh, ss, args->pad_s, phase / ss % ss),
                           w = phase_of(x.shape[2], kw, ss, args->pad_s, phase % ss);
            const int64_t places = t.places * h.places * w.places;
            if (places == 0) continue;
            const Windows windows = {
                f32(dy),  dy.shape[0], dy.shape[1], dy.shape[2], (int)O, t.taps.count, h.taps.count, w.taps.count,
                t.places, h.places,    w.places,    1,           1,      t.pad,        h.pad,        w.pad};
            const WeightAlongK lines = {f32(weight), I, taps, I * taps, (int)O, kh, kw, t.taps, h.taps, w.taps};
            VIN_CHECK(launch(product_grid(places, I), product_block, product_shared_bytes(), stream,
                             VIN_KERNEL_OF(conv3d_input_gradient_kernel),
                             ConvPlaces{f32(dx), x.shape[1], x.shape[2], I, t, h, w}, WindowsAlongK{windows}, lines,
                             places, (i64)t.taps.count * h.taps.count * w.taps.count * O));
        }

    if (present(dweight) && count(dweight) > 0 && pixels > 0) {
        const LongProduct s = long_product(O, taps * I, pixels);
        float* partials;
        VIN_CHECK(scratch_of(stream, partial_numbers(s), &partials));
        const Windows windows = {f32(x), x.shape[0],  x.shape[1],  x.shape[2],  (int)I,      kt,
                                 kh,     kw,          dy.shape[0], dy.shape[1], dy.shape[2], st,
                                 ss,     args->pad_t, args->pad_s, args->pad_s};
        VIN_CHECK(launch(long_product_grid(s), product_block, product_shared_bytes(), stream,
                         VIN_KERNEL_OF(conv3d_weight_gradient_kernel), partials, AcrossK{f32(dy), O, O},
                         WindowsAcrossK{windows}, s));
        // A partial sum is [O, tap, I], the weight [O, I, tap].
        const vin_tensor by_tap = {dweight.data, {O, taps, I}, {I * taps, 1, taps}, 3, VIN_DTYPE_F32};
        VIN_CHECK(finish_sum(stream, by_tap, partials, s.slices, true));
    }
    return add_column_sums(stream, args->dbias, f32(dy), pixels, O, O);
}
#endif
