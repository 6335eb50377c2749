// The micro-kernel of every matrix product: a tile of C, R rows by V vectors, stays in registers while k runs.
// C[r, n] (=|+=) Σ_k A[r, k] · B[k, n];  A is read one float at a time and broadcast, B one vector at a time.
#pragma once
#include "../isa.h"

namespace vin::cpu::VIN_CPU_ISA {

// Rows and columns of the tile. The accumulators, the vectors of one line of B and a broadcast fill the register file
// without spilling: 32 registers hold 12·2 + 2 + 1, 16 registers hold 6·2 + 2 + 1; without a fused multiply-add a
// product needs a register too: 4·2 + 2 + 1 + 1.
#if VIN_WIDTH == 16
constexpr int tile_rows = 12;
#elif VIN_WIDTH == 8
constexpr int tile_rows = 6;
#else
constexpr int tile_rows = 4;
#endif
constexpr int tile_vectors = 2;
constexpr int tile_columns = tile_vectors * W;
constexpr int tile_size = tile_rows * tile_columns;

template <int R, int V>
static inline __attribute__((always_inline)) void multiply_tile(int64_t depth, const float* a, int64_t a_row,
                                                                int64_t a_k, const float* b, int64_t b_k, float* c,
                                                                int64_t c_row, bool accumulate) {
    vf sums[R][V];
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int v = 0; v < V; v++) sums[r][v] = vf{};
    for (int64_t k = 0; k < depth; k++, a += a_k, b += b_k) {
        vf line[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; v++) line[v] = load(b + v * W);
#pragma GCC unroll 16
        for (int r = 0; r < R; r++) {
            const vf factor = set1(a[r * a_row]);
#pragma GCC unroll 4
            for (int v = 0; v < V; v++) sums[r][v] += factor * line[v];
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int v = 0; v < V; v++) {
            float* const at = c + r * c_row + v * W;
            store(at, accumulate ? load(at) + sums[r][v] : sums[r][v]);
        }
}

// Both operands packed: A as [depth][tile_rows], B as [depth][tile_columns], C as a tile of its own
// [tile_rows][tile_columns].
template <int R, int V>
static __attribute__((noinline)) void multiply_packed_tile(int64_t depth, const float* a, const float* b, float* c,
                                                           bool accumulate) {
    multiply_tile<R, V>(depth, a, 1, tile_rows, b, tile_columns, c, tile_columns, accumulate);
}

// A in place, its rows (a_row apart) contiguous along k.
template <int R, int V>
static __attribute__((noinline)) void multiply_rows_tile(int64_t depth, const float* a, int64_t a_row, const float* b,
                                                         int64_t b_k, float* c, int64_t c_row, bool accumulate) {
    multiply_tile<R, V>(depth, a, a_row, 1, b, b_k, c, c_row, accumulate);
}

// A in place, its columns (a_k apart) contiguous along rows.
template <int R, int V>
static __attribute__((noinline)) void multiply_columns_tile(int64_t depth, const float* a, int64_t a_k, const float* b,
                                                            int64_t b_k, float* c, int64_t c_row, bool accumulate) {
    multiply_tile<R, V>(depth, a, 1, a_k, b, b_k, c, c_row, accumulate);
}

// The same for a number of rows (1 … tile_rows) and columns (1 … tile_columns) known only now. The full tile is found
// first.
template <int R = tile_rows>
static inline void multiply_packed(int rows, int columns, int64_t depth, const float* a, const float* b, float* c,
                                   bool accumulate) {
    if constexpr (R > 1) {
        if (rows < R) return multiply_packed<R - 1>(rows, columns, depth, a, b, c, accumulate);
    }
    if (columns > W) return multiply_packed_tile<R, tile_vectors>(depth, a, b, c, accumulate);
    multiply_packed_tile<R, 1>(depth, a, b, c, accumulate);
}
template <int R = tile_rows>
static inline void multiply_rows(int rows, int columns, int64_t depth, const float* a, int64_t a_row, const float* b,
                                 int64_t b_k, float* c, int64_t c_row, bool accumulate) {
    if constexpr (R > 1) {
        if (rows < R) return multiply_rows<R - 1>(rows, columns, depth, a, a_row, b, b_k, c, c_row, accumulate);
    }
    if (columns > W) return multiply_rows_tile<R, tile_vectors>(depth, a, a_row, b, b_k, c, c_row, accumulate);
    multiply_rows_tile<R, 1>(depth, a, a_row, b, b_k, c, c_row, accumulate);
}
template <int R = tile_rows>
static inline void multiply_columns(int rows, int columns, int64_t depth, const float* a, int64_t a_k, const float* b,
                                    int64_t b_k, float* c, int64_t c_row, bool accumulate) {
    if constexpr (R > 1) {
        if (rows < R) return multiply_columns<R - 1>(rows, columns, depth, a, a_k, b, b_k, c, c_row, accumulate);
    }
    if (columns > W) return multiply_columns_tile<R, tile_vectors>(depth, a, a_k, b, b_k, c, c_row, accumulate);
    multiply_columns_tile<R, 1>(depth, a, a_k, b, b_k, c, c_row, accumulate);
}

}  // namespace vin::cpu::VIN_CPU_ISA
