// Where finished tiles of a product go.
#pragma once
#include "../rows.h"
#include "gemm.h"

namespace vin::cpu::VIN_CPU_ISA {

static inline void fetch_rows(const float* data, int64_t stride, int rows, int columns) {
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c += 16) __builtin_prefetch(data + r * stride + c, 1);
}

struct StoreRows {
    float* data;
    int64_t stride;
    void fetch(int64_t row, int rows, int64_t column, int columns) const {
        fetch_rows(data + row * stride + column, stride, rows, columns);
    }
    void operator()(const float* tile, int64_t row, int rows, int64_t column, int columns) const {
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < columns; c += W)
                store_up_to(data + (row + r) * stride + column + c, load(tile + r * tile_columns + c), columns - c);
    }
};

struct AddRows {
    float* data;
    int64_t stride;
    void operator()(const float* tile, int64_t row, int rows, int64_t column, int columns) const {
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < columns; c += W) {
                float* const at = data + (row + r) * stride + column + c;
                store_up_to(at, load_up_to(at, columns - c) + load(tile + r * tile_columns + c), columns - c);
            }
    }
};

// y = residual + gate[group] · activation(product + bias), done while a tile is in the first-level cache; what is null
// is left out. residual may be y itself: an element is read where it is written.
struct FinishRows {
    float* y;
    const float *bias, *gate, *residual;
    const int32_t* group;
    int64_t y_row, gate_row, residual_row;
    int32_t activation;

    void fetch(int64_t row, int rows, int64_t column, int columns) const {
        fetch_rows(y + row * y_row + column, y_row, rows, columns);
    }
    void operator()(const float* tile, int64_t row, int rows, int64_t column, int columns) const {
        for (int r = 0; r < rows; r++, tile += tile_columns) {
            const float* gate_at = gate ? gate + (group ? group[row + r] : 0) * gate_row + column : nullptr;
            const float* residual_at = residual ? residual + (row + r) * residual_row + column : nullptr;
            float* y_at = y + (row + r) * y_row + column;
            for (int c = 0; c < columns; c += W) {
                vf x = load(tile + c);
                if (bias) x += load_up_to(bias + column + c, columns - c);
                if (activation == VIN_ACTIVATION_GELU) x = gelu_of(x);
                if (activation == VIN_ACTIVATION_SILU) x = silu_of(x);
                if (gate_at) x *= load_up_to(gate_at + c, columns - c);
                if (residual_at) x += load_up_to(residual_at + c, columns - c);
                store_up_to(y_at + c, x, columns - c);
            }
        }
    }
};

// sums[N] += Σ_rows x[R, N]: rows in at most 32 parts that are summed on their own, then added in order.
static inline vin_status add_column_sums(vin_stream* stream, float* sums, const float* x, int64_t R, int64_t N,
                                         int64_t stride) {
    if (R == 0 || N == 0) return VIN_OK;
    const int64_t rows = max(divide_up(R, 32), divide_up(65536, N)), parts = divide_up(R, rows),
                  padded = round_up(N, W);
    float* const partial = scratch(stream, slot_partial_sums, parts * padded);
    if (!partial) return vin_cpu_no_memory();
    parallel(stream, parts, [&](int64_t part) {
        float* const to = partial + part * padded;
        for (int64_t n = 0; n < padded; n += W) store(to + n, vf{});
        for (int64_t r = part * rows; r < min(R, (part + 1) * rows); r++)
            for (int64_t n = 0; n < N; n += W) store(to + n, load(to + n) + load_up_to(x + r * stride + n, N - n));
    });
    for (int64_t part = 0; part < parts; part++)
        for (int64_t n = 0; n < N; n += W)
            store_up_to(sums + n, load_up_to(sums + n, N - n) + load(partial + part * padded + n), N - n);
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
