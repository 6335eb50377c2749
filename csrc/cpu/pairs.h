// Rotary embedding on adjacent pairs: lanes (2k, 2k + 1) of a vector turn by the (cos, sin) in the same lanes of a
// table line.
#pragma once
#include "check.h"
#include "rows.h"

namespace vin::cpu::VIN_CPU_ISA {

#if VIN_WIDTH == 16
#define VIN_SHUFFLE(v, f) \
    __builtin_shufflevector(v, v, f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7), f(8), f(9), f(10), f(11), f(12), \
                            f(13), f(14), f(15))
#elif VIN_WIDTH == 8
#define VIN_SHUFFLE(v, f) __builtin_shufflevector(v, v, f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7))
#else
#define VIN_SHUFFLE(v, f) __builtin_shufflevector(v, v, f(0), f(1), f(2), f(3))
#endif
#define VIN_EVEN(i) ((i) & ~1)
#define VIN_ODD(i) ((i) | 1)
#define VIN_OTHER(i) ((i) ^ 1)

static inline vf negate_even(vf x) {
    vf signs = {};
    for (int i = 0; i < W; i++) signs[i] = i & 1 ? 1.f : -1.f;
    return x * signs;
}
// (x₀ cos − x₁ sin, x₁ cos + x₀ sin)
static inline vf turn(vf x, vf line) {
    return x * VIN_SHUFFLE(line, VIN_EVEN) + VIN_SHUFFLE(x, VIN_OTHER) * negate_even(VIN_SHUFFLE(line, VIN_ODD));
}
// (x₀ cos + x₁ sin, x₁ cos − x₀ sin): the inverse, which is also the transpose.
static inline vf turn_back(vf x, vf line) {
    return x * VIN_SHUFFLE(line, VIN_EVEN) - VIN_SHUFFLE(x, VIN_OTHER) * negate_even(VIN_SHUFFLE(line, VIN_ODD));
}

static inline vin_status expect_rope(const vin_tensor& rope, int64_t d, int32_t rows_per_position) {
    if (!present(rope)) return VIN_OK;
    if (d % 2) return vin_cpu_refuse(VIN_INVALID, "expected an even head size for rope, found %lld", (long long)d);
    if (rows_per_position < 1)
        return vin_cpu_refuse(VIN_INVALID, "expected rows_per_position of at least 1, found %d",
                              (int)rows_per_position);
    return expect("rope", rope, VIN_DENSE, -1, d);
}
// The table line of row r, or none where the table has ended.
static inline const float* rope_line(const vin_tensor& rope, int64_t r, int32_t rows_per_position) {
    if (!present(rope)) return nullptr;
    const int64_t position = r / rows_per_position;
    return position < rope.shape[0] ? f32(rope) + position * rope.shape[1] : nullptr;
}

}  // namespace vin::cpu::VIN_CPU_ISA
