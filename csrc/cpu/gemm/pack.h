// Packing: an operand is copied into panels [depth][P], P lines (rows of A or columns of B) wide, in the order in which
// the micro-kernel reads. A panel's missing lines are 0. Every operand is a struct with
//   template <int P> void pack(float* out, int64_t line, int64_t lines, int64_t k, int64_t depth) const
// which writes ⌈lines / P⌉ panels of P · depth floats.
#pragma once
#include "../isa.h"

namespace vin::cpu::VIN_CPU_ISA {

// In stage s lanes with bit s clear and set change places between rows i and i + s; after all stages row i holds lane i
// of every row.
template <int S>
static inline __attribute__((always_inline)) void transpose_stage(vf* rows) {
    vi low, high;
#pragma GCC unroll 16
    for (int j = 0; j < W; j++) {
        low[j] = j & S ? W + j - S : j;
        high[j] = j & S ? W + j : j + S;
    }
#pragma GCC unroll 16
    for (int i = 0; i < W; i++) {
        if (i & S) continue;
        const vf a = rows[i], b = rows[i + S];
        rows[i] = __builtin_shuffle(a, b, low);
        rows[i + S] = __builtin_shuffle(a, b, high);
    }
}
static inline __attribute__((always_inline)) void transpose(vf rows[W]) {
#if VIN_WIDTH >= 16
    transpose_stage<8>(rows);
#endif
#if VIN_WIDTH >= 8
    transpose_stage<4>(rows);
#endif
    transpose_stage<2>(rows);
    transpose_stage<1>(rows);
}

// Packs `depth` floats from each of n ≤ P lines, given by their first elements (null: zeros), into one panel. W × W
// blocks are turned in registers; the last block of a panel reaches back over the one before it. Where P is not a
// multiple of W, a store reaches over the P floats that belong to its k: the next k, or the next panel, overwrites
// them, so W floats of room are needed behind the last panel.
template <int P>
static inline void pack_lines(float* out, const float* const* line, int n, int64_t depth) {
    if (depth < W) {
        for (int64_t k = 0; k < depth; k++)
            for (int i = 0; i < P; i++) out[k * P + i] = i < n && line[i] ? line[i][k] : 0;
        return;
    }
    for (int64_t next = 0; next < depth; next += W) {
        const int64_t k = min(next, depth - W);
#pragma GCC unroll 2
        for (int block = 0; block < P; block += W) {
            vf rows[W];
#pragma GCC unroll 16
            for (int i = 0; i < W; i++)
                rows[i] = block + i < P && block + i < n && line[block + i] ? load(line[block + i] + k) : vf{};
            transpose(rows);
#pragma GCC unroll 16
            for (int i = 0; i < W; i++) store(out + (k + i) * P + block, rows[i]);
        }
    }
}

// Element (line, k) at data[line · stride + k]: rows of a row-major matrix, k along the row.
struct LinesAlongK {
    const float* data;
    int64_t stride;
    template <int P>
    void pack(float* out, int64_t line, int64_t lines, int64_t k, int64_t depth) const {
        for (int64_t first = 0; first < lines; first += P, out += P * depth) {
            const float* at[P];
            const int n = (int)min(P, lines - first);
            for (int i = 0; i < n; i++) at[i] = data + (line + first + i) * stride + k;
            pack_lines<P>(out, at, n, depth);
        }
    }
};

// Copies n ≤ P contiguous floats, zeros after them.
template <int P>
static inline void pack_line(float* out, const float* from, int n) {
    if (n == P) {
        memcpy(out, from, P * sizeof(float));
    } else {
        for (int i = 0; i < P; i++) out[i] = i < n ? from[i] : 0;
    }
}

// Element (line, k) at data[k · stride + line]: columns of a row-major matrix, k down the rows.
struct LinesAcrossK {
    const float* data;
    int64_t stride;
    template <int P>
    void pack(float* out, int64_t line, int64_t lines, int64_t k, int64_t depth) const {
        for (int64_t first = 0; first < lines; first += P, out += P * depth) {
            const int n = (int)min(P, lines - first);
            const float* from = data + k * stride + line + first;
            for (int64_t i = 0; i < depth; i++, from += stride) pack_line<P>(out + i * P, from, n);
        }
    }
};

}  // namespace vin::cpu::VIN_CPU_ISA
