// Rows of any length in steps of W: `for (c = 0; c < C; c += W)` with C − c lanes left in the last step.
#pragma once
#include "isa.h"

namespace vin::cpu::VIN_CPU_ISA {

static inline vf load_up_to(const float* p, int64_t left) { return left >= W ? load(p) : load_n(p, (int)left); }
static inline void store_up_to(float* p, vf x, int64_t left) {
    if (left >= W)
        store(p, x);
    else
        store_n(p, x, (int)left);
}
// Lanes past the row become 0, so that they add nothing to a sum.
static inline vf keep_up_to(vf x, int64_t left) {
    if (left >= W) return x;
    vf kept = {};
    memcpy(&kept, &x, (size_t)left * 4);
    return kept;
}

// Line of row r in an operand [groups, C]; an absent operand has none.
static inline const float* group_row(const vin_tensor& t, const vin_tensor& group, int64_t r) {
    return at_if_present(t, present(group) ? (int64_t)i32(group)[r] : 0);
}

}  // namespace vin::cpu::VIN_CPU_ISA
