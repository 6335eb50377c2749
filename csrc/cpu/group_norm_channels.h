// Shared by group_norm and its backward pass: x [B, P, C] is cut into B · blocks row blocks, and fp64 sums per channel
// are kept for each block.
#pragma once
#include "check.h"
#include "rows.h"

namespace vin::cpu::VIN_CPU_ISA {

struct GroupNormShape {
    int64_t B, P, C, groups, blocks, block_rows;  // blocks of one image; their number follows from the shape alone
};

static inline GroupNormShape group_norm_shape(const vin_tensor& x, int64_t groups) {
    GroupNormShape s = {x.shape[0], x.shape[1], x.shape[2], groups, 1, 1};
    s.blocks = max(1, min((s.P + 63) / 64, 64 / max(1, s.B)));
    s.block_rows = (s.P + s.blocks - 1) / s.blocks;
    return s;
}

static inline vin_status expect_groups(const GroupNormShape& s) {
    if (s.groups > 0 && s.C % s.groups == 0) return VIN_OK;
    return vin_cpu_refuse(VIN_INVALID, "expected groups that divide %lld channels, found %lld", (long long)s.C,
                          (long long)s.groups);
}

typedef double vd __attribute__((vector_size(VIN_WIDTH * 8)));

// sums [B · blocks, C, 2] = Σ a and Σ a · b over the rows of a block, in fp64, where term(a, b, image, row, c, left)
// gives both for W channels.
template <class Term>
static inline void channel_sums(vin_stream* stream, const GroupNormShape& s, double* sums, const Term& term) {
    constexpr int64_t TILE = 32;  // rows that stay in cache while the channels are passed through
    parallel(stream, s.B * s.blocks, [&](int64_t task) {
        double* total = sums + task * s.C * 2;
        memset(total, 0, (size_t)s.C * 16);
        const int64_t image = task / s.blocks, first = task % s.blocks * s.block_rows,
                      last = min(s.P, first + s.block_rows);
        for (int64_t begin = first; begin < last; begin += TILE)
            for (int64_t c = 0; c < s.C; c += W) {
                vd sum_a = {}, sum_ab = {};
                for (int64_t row = begin; row < min(last, begin + TILE); row++) {
                    vf a, b;
                    term(a, b, image, row, c, s.C - c);
                    const vd wide = __builtin_convertvector(a, vd);
                    sum_a += wide;
                    sum_ab += wide * __builtin_convertvector(b, vd);
                }
                for (int64_t i = 0; i < min(W, s.C - c); i++) {
                    total[2 * (c + i)] += sum_a[i];
                    total[2 * (c + i) + 1] += sum_ab[i];
                }
            }
    });
}

static inline double* image_sums(const GroupNormShape& s, double* sums, int64_t b) {
    return sums + b * s.blocks * s.C * 2;
}

// Adds the blocks of each image in order; its sums then lie in its first block.
static inline void add_blocks(const GroupNormShape& s, double* sums) {
    for (int64_t b = 0; b < s.B; b++)
        for (int64_t k = 1; k < s.blocks; k++)
            for (int64_t i = 0; i < 2 * s.C; i++) image_sums(s, sums, b)[i] += sums[(b * s.blocks + k) * s.C * 2 + i];
}

}  // namespace vin::cpu::VIN_CPU_ISA
