// Vector words for CPU kernels. One kernel text is compiled once per instruction set, each time in a namespace of its
// own (VIN_CPU_ISA: portable, avx2, avx512), so nothing inline is shared between builds: include no standard C++ header
// with inline code here or in a kernel.
#pragma once
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../backend.h"

#ifndef VIN_CPU_ISA
#error "compile csrc/cpu with -DVIN_CPU_ISA=portable|avx2|avx512"
#endif
#if defined(__AVX512F__)
#define VIN_WIDTH 16
#elif defined(__AVX2__)
#define VIN_WIDTH 8
#else
#define VIN_WIDTH 4
#endif

// The CPU backend's stream: how a kernel reaches the engine's threads and its scratch memory.
struct vin_stream {
    const vin_host* host;
    void* pool;
};

namespace vin::cpu::VIN_CPU_ISA {

constexpr int W = VIN_WIDTH;
typedef float vf __attribute__((vector_size(VIN_WIDTH * 4), may_alias));  // W floats
typedef float vf_unaligned __attribute__((vector_size(VIN_WIDTH * 4), aligned(4), may_alias));
typedef int32_t vi __attribute__((vector_size(VIN_WIDTH * 4), may_alias));

static inline vf load(const float* p) { return *(const vf_unaligned*)p; }
static inline void store(float* p, vf x) { *(vf_unaligned*)p = x; }
static inline vf set1(float x) { return x - vf{}; }
static inline vf min(vf a, vf b) { return a < b ? a : b; }
static inline vf max(vf a, vf b) { return a > b ? a : b; }
static inline int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }

// The first n (< W) lanes; the others read as 0 and are not written.
static inline vf load_n(const float* p, int n) {
    vf x = {};
    memcpy(&x, p, (size_t)n * 4);
    return x;
}
static inline void store_n(float* p, vf x, int n) { memcpy(p, &x, (size_t)n * 4); }

// Sum of lanes, always in the same pairwise order.
static inline float sum(vf x) {
    float lanes[W];
    memcpy(lanes, &x, sizeof lanes);
    for (int half = W / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
    return lanes[0];
}

// exp with relative error < 2e-7 on [−87, 88]; below −87 it is 0 to within 1e-38, above 88 it stays finite at exp(88).
// NaN stays NaN.
static inline vf exp(vf x) {
    const vf limited = min(max(x, set1(-87.33654f)), set1(88.f));
    const vf magic = set1(12582912.f);  // 1.5 · 2²³: adding it rounds to the nearest integer
    const vf shifted = limited * set1(1.44269504f) + magic;
    const vf n = shifted - magic;
    const vf r = (limited - n * set1(0.693359375f)) - n * set1(-2.12194440e-4f);  // ln 2 in two parts
    vf p = set1(1.9875691500e-4f);
    p = p * r + set1(1.3981999507e-3f);
    p = p * r + set1(8.3334519073e-3f);
    p = p * r + set1(4.1665795894e-2f);
    p = p * r + set1(1.6666665459e-1f);
    p = p * r + set1(5.0000001201e-1f);
    p = p * r * r + r + set1(1.f);
    vi bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = bits << 23;  // the low bits of `shifted` hold n
    vi result;
    memcpy(&result, &p, sizeof result);
    result += bits;
    vf y;
    memcpy(&y, &result, sizeof y);
    return x == x ? y : x;
}

// 2ˣ for x ≤ 128 with relative error < 3e-7; below −126.5 it is 0, above 127.5 infinite. NaN stays NaN. Shorter than
// exp: for softmax in base 2.
static inline vf exp2(vf x) {
    const vf limited = set1(-127.f) > x ? set1(-127.f) : x;
    const vf magic = set1(12582912.f + 127.f);  // 1.5 · 2²³ + exponent bias
    const vf shifted = limited + magic;
    const vf r = limited - (shifted - magic);  // −½ … ½
    vf p = set1(1.32764725e-3f);
    p = p * r + set1(9.67554096e-3f);
    p = p * r + set1(5.55071309e-2f);
    p = p * r + set1(2.40221202e-1f);
    p = p * r + set1(6.93146944e-1f);
    p = p * r + set1(1.f);
    vi bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = bits << 23;  // biased exponent of 2ⁿ; all zero for n = −127
    vf power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

static inline vf sigmoid(vf x) {
    const vf e = exp(x < vf{} ? x : -x);  // exp(−|x|)
    const vf s = set1(1.f) / (set1(1.f) + e);
    return x < vf{} ? e * s : s;
}
static inline vf silu_of(vf x) { return x * sigmoid(x); }
// 0.5 x (1 + tanh(√(2/π)(x + 0.044715 x³))) = x / (1 + 2^−t), t = log2(e) · 2 √(2/π) (x + 0.044715 x³)
static inline vf gelu_of(vf x) {
    const vf power = x * (set1(-2.3022082f) + set1(-0.10294324f) * x * x);
    return x / (set1(1.f) + exp2(power > set1(128.f) ? set1(128.f) : power));
}

// body(task) for task 0 … tasks−1, on the engine's threads. Tasks must own disjoint outputs, so that their order and
// number of threads change no bit.
template <class Body>
static inline void parallel(vin_stream* stream, int64_t tasks, const Body& body) {
    if (tasks == 1) body(0);
    if (tasks <= 1) return;
    struct Call {
        static void run(void* context, int64_t task) { (*(const Body*)context)(task); }
    };
    stream->host->parallel(stream->pool, tasks, &Call::run, (void*)&body);
}

// Splits `rows` into tasks of about `cost_per_row · rows_per_task` ≥ 32 K operations and calls body(begin, end).
template <class Body>
static inline void parallel_rows(vin_stream* stream, int64_t rows, int64_t cost_per_row, const Body& body) {
    const int64_t grain = max(1, 32768 / max(1, cost_per_row));
    const int64_t tasks = (rows + grain - 1) / grain;
    parallel(stream, tasks, [&](int64_t task) { body(task * grain, min(rows, (task + 1) * grain)); });
}
// The same with body(row).
template <class Body>
static inline void each_row(vin_stream* stream, int64_t rows, int64_t cost_per_row, const Body& body) {
    parallel_rows(stream, rows, cost_per_row, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; row++) body(row);
    });
}

// Room for `count` values that belongs to the calling thread until it asks for the slot again; null: there is none.
template <class T = float>
static inline T* scratch(vin_stream* stream, int32_t slot, int64_t count) {
    return (T*)stream->host->scratch(slot, (size_t)count * sizeof(T) + 64);
}

static inline int64_t count(const vin_tensor& t) {
    int64_t n = 1;
    for (int i = 0; i < t.rank; i++) n *= t.shape[i];
    return n;
}
static inline bool present(const vin_tensor& t) { return t.data != nullptr; }
static inline float* f32(const vin_tensor& t) { return (float*)t.data; }
static inline int32_t* i32(const vin_tensor& t) { return (int32_t*)t.data; }
static inline double* f64(const vin_tensor& t) { return (double*)t.data; }
// The fp32 element at these indices of the first axes, 0 in the others.
template <class... Index>
static inline float* at(const vin_tensor& t, Index... index) {
    int64_t offset = 0;
    int axis = 0;
    ((offset += index * t.stride[axis++]), ...);
    return f32(t) + offset;
}
// The same; an absent operand has none.
template <class... Index>
static inline float* at_if_present(const vin_tensor& t, Index... index) {
    return present(t) ? at(t, index...) : nullptr;
}

}  // namespace vin::cpu::VIN_CPU_ISA
