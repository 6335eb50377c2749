// Elementwise work on operands of one shape with any strides: dimensions that lie next to each other in every operand
// are merged, then runs along the innermost one are handed out to the threads.
#pragma once
#include "check.h"
#include "rows.h"

namespace vin::cpu::VIN_CPU_ISA {

// N operands, the first one the output.
template <int N>
struct Walk {
    int rank;  // outer dimensions
    int64_t shape[VIN_MAX_RANK], stride[N][VIN_MAX_RANK];
    int64_t inner, step[N];  // innermost dimension: its size, and the stride of each operand
    int64_t rows;            // product of the outer dimensions
};

template <int N>
static inline Walk<N> walk(const vin_tensor* const (&operands)[N]) {
    const vin_tensor& y = *operands[0];
    // The output's own order, so that it is written as contiguously as it lies.
    int order[VIN_MAX_RANK], rank = 0;
    for (int i = 0; i < y.rank; i++) {
        if (y.shape[i] == 1) continue;
        int at = rank++;
        for (; at > 0 && y.stride[order[at - 1]] < y.stride[i]; at--) order[at] = order[at - 1];
        order[at] = i;
    }
    Walk<N> w = {};
    int64_t shape[VIN_MAX_RANK + 1] = {1}, stride[N][VIN_MAX_RANK + 1] = {};
    int merged = 0;
    for (int i = 0; i < rank; i++) {
        const int d = order[i];
        bool adjacent = merged > 0;
        for (int k = 0; k < N && adjacent; k++) adjacent = stride[k][merged - 1] == operands[k]->stride[d] * y.shape[d];
        if (!adjacent) shape[merged++] = 1;
        shape[merged - 1] *= y.shape[d];
        for (int k = 0; k < N; k++) stride[k][merged - 1] = operands[k]->stride[d];
    }
    w.rank = max(0, merged - 1);
    w.rows = 1;
    for (int i = 0; i < w.rank; i++) {
        w.shape[i] = shape[i];
        w.rows *= shape[i];
        for (int k = 0; k < N; k++) w.stride[k][i] = stride[k][i];
    }
    w.inner = merged ? shape[merged - 1] : 1;
    for (int k = 0; k < N; k++) w.step[k] = merged ? stride[k][merged - 1] : 0;
    if (count(y) == 0) w.rows = 0;
    return w;
}

// run(offset[N], n): n elements from those offsets, `step` apart. Pieces of long runs are tasks of their own.
template <int N, class Run>
static inline void for_each_run(vin_stream* stream, const Walk<N>& w, int64_t cost, const Run& run) {
    const int64_t piece = 8192, pieces = (w.inner + piece - 1) / piece;
    parallel_rows(stream, w.rows * pieces, cost * min(piece, w.inner), [&](int64_t begin, int64_t end) {
        int64_t index[VIN_MAX_RANK] = {}, offset[N] = {};
        for (int64_t rest = begin / pieces, i = w.rank - 1; i >= 0; rest /= w.shape[i--]) {
            index[i] = rest % w.shape[i];
            for (int k = 0; k < N; k++) offset[k] += index[i] * w.stride[k][i];
        }
        int64_t at = begin % pieces * piece;
        for (int64_t item = begin; item < end; item++) {
            int64_t start[N];
            for (int k = 0; k < N; k++) start[k] = offset[k] + at * w.step[k];
            run(start, min(piece, w.inner - at));
            at += piece;
            if (at < w.inner) continue;
            at = 0;
            for (int i = w.rank - 1; i >= 0; i--) {
                for (int k = 0; k < N; k++) offset[k] += w.stride[k][i];
                if (++index[i] < w.shape[i]) break;
                index[i] = 0;
                for (int k = 0; k < N; k++) offset[k] -= w.shape[i] * w.stride[k][i];
            }
        }
    });
}

static inline vf load_run(const float* p, int64_t step, int64_t left) {
    if (step == 1) return load_up_to(p, left);
    if (step == 0) return set1(*p);
    float lanes[W] = {};
    for (int i = 0; i < W && i < left; i++) lanes[i] = p[i * step];
    return load(lanes);
}
static inline void store_run(float* p, vf x, int64_t step, int64_t left) {
    if (step == 1) return store_up_to(p, x, left);
    float lanes[W];
    store(lanes, x);
    for (int i = 0; i < W && i < left; i++) p[i * step] = lanes[i];
}

struct Operand {
    const char* name;
    const vin_tensor& tensor;
};

// y = f(a, b), all fp32.
template <class F>
static inline vin_status map(vin_stream* stream, const Operand& output, const Operand& first, const Operand& second,
                             int64_t cost, const F& f) {
    const vin_tensor &y = output.tensor, &a = first.tensor, &b = second.tensor;
    if (vin_status status = expect_like(output.name, y, VIN_STRIDED_OUTPUT, a)) return status;
    if (vin_status status = expect_like(first.name, a, VIN_STRIDED, y)) return status;
    if (vin_status status = expect_like(second.name, b, VIN_STRIDED, y)) return status;
    const Walk<3> w = walk<3>({&y, &a, &b});
    for_each_run(stream, w, cost, [&](const int64_t (&offset)[3], int64_t n) {
        float* to = f32(y) + offset[0];
        const float *left = f32(a) + offset[1], *right = f32(b) + offset[2];
        int64_t i = 0;
        if (w.step[0] == 1 && w.step[1] == 1 && w.step[2] == 1)
            for (; i + W <= n; i += W) store(to + i, f(load(left + i), load(right + i)));
        for (; i < n; i += W) {
            const vf p = load_run(left + i * w.step[1], w.step[1], n - i),
                     q = load_run(right + i * w.step[2], w.step[2], n - i);
            store_run(to + i * w.step[0], f(p, q), w.step[0], n - i);
        }
    });
    return VIN_OK;
}
// y = f(x)
template <class F>
static inline vin_status map(vin_stream* stream, const Operand& y, const Operand& x, int64_t cost, const F& f) {
    return map(stream, y, x, x, cost, [&](vf v, vf) { return f(v); });
}

}  // namespace vin::cpu::VIN_CPU_ISA
