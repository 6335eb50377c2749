// Gradients of conv3d. With p = (t,h,w) an output place:
//   dx[q,i] = Σ_{a,o} dy[(q + pad − a) / stride, o] · weight[o,i,a] over the taps a for which the division is exact,
//   dweight[o,i,a] += Σ_p dy[p,o] · x[p·stride − pad + a, i],   dbias[o] += Σ_p dy[p,o].
#include "gemm/output.h"
#include "gemm/window.h"

namespace vin::cpu::VIN_CPU_ISA {

// Input places q = stride · u + phase along one axis use the taps first, first + stride, … only. Counted backwards,
// these are the taps of a convolution over dy with stride 1 whose window for u starts at u − pad.
struct Axis {
    int64_t places;  // number of u
    int64_t phase, stride, pad;
    Taps taps;
};
static Axis phase_of(int64_t size, int64_t kernel, int64_t stride, int64_t pad, int64_t phase) {
    const int64_t first = ((phase + pad) % stride + stride) % stride,
                  taps = kernel > first ? divide_up(kernel - first, stride) : 0;
    const int64_t place = (phase + pad - first) / stride;
    return {size > phase ? divide_up(size - phase, stride) : 0,
            phase,
            stride,
            taps - 1 - place,
            {taps, first + (taps - 1) * stride, -stride}};
}

struct StorePlaces {
    float* dx;
    int64_t height, width, channels;
    Axis t, h, w;
    void operator()(const float* tile, int64_t row, int rows, int64_t column, int columns) const {
        for (int r = 0; r < rows; r++, tile += tile_columns) {
            const int64_t line = (row + r) / w.places;
            const int64_t at_t = line / h.places * t.stride + t.phase, at_h = line % h.places * h.stride + h.phase,
                          at_w = (row + r) % w.places * w.stride + w.phase;
            float* const to = dx + ((at_t * height + at_h) * width + at_w) * channels + column;
            for (int c = 0; c < columns; c += W) store_up_to(to + c, load(tile + c), columns - c);
        }
    }
};

// A tile's columns are (tap, i), the weight's are (i, tap).
struct AddWeight {
    float* dweight;
    int64_t channels, taps;
    void operator()(const float* tile, int64_t row, int rows, int64_t column, int columns) const {
        for (int c = 0; c < columns; c++) {
            float* const to = dweight + ((column + c) % channels) * taps + (column + c) / channels;
            for (int r = 0; r < rows; r++) to[(row + r) * channels * taps] += tile[r * tile_columns + c];
        }
    }
};

vin_status conv3d_backward(vin_stream* stream, const vin_conv3d_backward_args* args) {
    const vin_tensor &dx = args->dx, &dweight = args->dweight, &dbias = args->dbias, &dy = args->dy, &x = args->x,
                     &weight = args->weight;
    if (vin_status status = expect("x", x, VIN_DENSE, -1, -1, -1, -1)) return status;
    if (vin_status status = expect("weight", weight, VIN_DENSE, -1, x.shape[3], -1, -1, -1)) return status;
    const int64_t O = weight.shape[0], I = weight.shape[1], kt = weight.shape[2], kh = weight.shape[3],
                  kw = weight.shape[4];
    const int64_t T = x.shape[0], height = x.shape[1], width = x.shape[2], st = args->stride_t, ss = args->stride_s;
    if (vin_status status = expect("dy", dy, VIN_DENSE, -1, -1, -1, O)) return status;
    if (present(dx))
        if (vin_status status = expect_like("dx", dx, VIN_DENSE, x)) return status;
    if (present(dweight))
        if (vin_status status = expect_like("dweight", dweight, VIN_DENSE, weight)) return status;
    if (vin_status status = expect_if_present("dbias", dbias, VIN_DENSE, O)) return status;
    if (st < 1 || ss < 1)
        return vin_cpu_refuse(VIN_INVALID, "expected strides of at least 1, found %d in time and %d in space", (int)st,
                              (int)ss);

    const int64_t taps = kt * kh * kw, places = dy.shape[0] * dy.shape[1] * dy.shape[2];
    if (present(dx))
        for (int64_t phase = 0; phase < st * ss * ss; phase++) {
            const Axis t = phase_of(T, kt, st, args->pad_t, phase / (ss * ss)),
                       h = phase_of(height, kh, ss, args->pad_s, phase / ss % ss);
            const Axis w = phase_of(width, kw, ss, args->pad_s, phase % ss);
            const Windows windows = {f32(dy),      dy.shape[0],  dy.shape[1], dy.shape[2], O, t.taps.count,
                                     h.taps.count, w.taps.count, h.places,    w.places,    1, 1,
                                     t.pad,        h.pad,        w.pad};
            const WeightLines lines = {f32(weight), taps, I * taps, O, t.taps, h.taps, w.taps, kh, kw};
            const StorePlaces out = {f32(dx), height, width, I, t, h, w};
            if (vin_status status =
                    multiply(stream, t.places * h.places * w.places, I, t.taps.count * h.taps.count * w.taps.count * O,
                             WindowsAlongK{windows}, lines, out))
                return status;
        }
    if (present(dweight)) {
        const Windows windows = {f32(x),      T,           height, width, I,           kt,          kh,         kw,
                                 dy.shape[1], dy.shape[2], st,     ss,    args->pad_t, args->pad_s, args->pad_s};
        if (vin_status status = multiply_long(stream, O, taps * I, places, LinesAcrossK{f32(dy), O},
                                              WindowsAcrossK{windows}, AddWeight{f32(dweight), I, taps}))
            return status;
    }
    if (present(dbias)) return add_column_sums(stream, f32(dbias), f32(dy), places, O, O);
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
