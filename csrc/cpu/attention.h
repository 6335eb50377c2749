// What attention and its gradient share. Scores are kept turned, Sᵀ [keys][queries], in a tile of key_block ×
// query_block: then a softmax is elementwise over vectors of queries, rows of k and v are read in place, and both
// products that follow read the tile in place.
#pragma once
#include "gemm/gemm.h"
#include "rows.h"

namespace vin::cpu::VIN_CPU_ISA {

// A tile of scores is 36 KiB; 96 divides by the rows and columns of every micro-kernel.
constexpr int64_t query_block = 96, key_block = 96;
constexpr int64_t max_head_size = 512;
constexpr float log2_e = 1.44269504088896f, ln_2 = 0.693147180559945f;

// One (b, h) of a strided [B,H,rows,d].
struct HeadRows {
    float* data;
    int64_t stride;
    float* row(int64_t r) const { return data + r * stride; }
};
static inline HeadRows head_rows(const vin_tensor& t, int64_t b, int64_t h) { return {at(t, b, h), t.stride[2]}; }

static inline vin_status expect_attention(const vin_tensor& q, const vin_tensor& k, const vin_tensor& v,
                                          const vin_tensor& bias) {
    if (vin_status status = expect("q", q, VIN_ROWS, -1, -1, -1, -1)) return status;
    const int64_t B = q.shape[0], H = q.shape[1], Q = q.shape[2], d = q.shape[3];
    if (d > max_head_size)
        return vin_cpu_refuse(VIN_NOT_SUPPORTED, "expected a head size up to %d, found %lld", (int)max_head_size,
                              (long long)d);
    if (vin_status status = expect("k", k, VIN_ROWS, B, H, -1, d)) return status;
    if (vin_status status = expect("v", v, VIN_ROWS, B, H, k.shape[2], d)) return status;
    return expect_if_present("bias", bias, VIN_STRIDED, B, H, Q, k.shape[2]);
}

// Query rows as panels [d][tile_columns], times factor; missing rows are 0.
static inline void pack_queries(float* out, const HeadRows& q, int64_t query, int64_t queries, int64_t d,
                                float factor) {
    LinesAlongK{q.data, q.stride}.pack<tile_columns>(out, query, queries, 0, d);
    for (int64_t i = 0; i < round_up(queries, tile_columns) * d; i += W) store(out + i, load(out + i) * set1(factor));
}

// tile[key][query] = Σ_d rows[key][d] · packed[d][query]
static inline void multiply_heads(float* tile, int64_t tile_stride, const HeadRows& rows, int64_t key, int64_t keys,
                                  const float* packed, int64_t queries, int64_t d) {
    for (int64_t n = 0; n < queries; n += tile_columns)
        for (int64_t m = 0; m < keys; m += tile_rows)
            multiply_rows((int)min(tile_rows, keys - m), (int)min(tile_columns, queries - n), d, rows.row(key + m),
                          rows.stride, packed + n * d, tile_columns, tile + m * tile_stride + n, tile_stride, false);
}

// sums[query][d] += Σ_key tile[key][query] · panels[key][d]
static inline void add_over_keys(float* sums, int64_t sums_stride, const float* tile, int64_t tile_stride,
                                 int64_t queries, const float* panels, int64_t keys, int64_t d) {
    for (int64_t n = 0; n < d; n += tile_columns)
        for (int64_t m = 0; m < queries; m += tile_rows)
            multiply_columns((int)min(tile_rows, queries - m), (int)min(tile_columns, d - n), keys, tile + m,
                             tile_stride, panels + n * keys, tile_columns, sums + m * sums_stride + n, sums_stride,
                             true);
}

// sums[key][d] += Σ_query tile[key][query] · panels[query][d]
static inline void add_over_queries(float* sums, int64_t sums_stride, const float* tile, int64_t tile_stride,
                                    int64_t keys, const float* panels, int64_t queries, int64_t d) {
    for (int64_t n = 0; n < d; n += tile_columns)
        for (int64_t m = 0; m < keys; m += tile_rows)
            multiply_rows((int)min(tile_rows, keys - m), (int)min(tile_columns, d - n), queries, tile + m * tile_stride,
                          tile_stride, panels + n * queries, tile_columns, sums + m * sums_stride + n, sums_stride,
                          true);
}

// Scores in base 2 take the bias of one (b, h) times log2 e.
static inline void add_bias(float* tile, int64_t tile_stride, const vin_tensor& bias, int64_t b, int64_t h,
                            int64_t query, int64_t queries, int64_t key, int64_t keys) {
    const int64_t q_stride = bias.stride[2], k_stride = bias.stride[3];
    const float* const from = at(bias, b, h) + query * q_stride + key * k_stride;
    if (q_stride == 0) {
        for (int64_t m = 0; m < keys; m++) {
            const vf shared = set1(from[m * k_stride] * log2_e);
            for (int64_t n = 0; n < queries; n += W)
                store(tile + m * tile_stride + n, load(tile + m * tile_stride + n) + shared);
        }
        return;
    }
    for (int64_t n = 0; n < queries; n++)
        for (int64_t m = 0; m < keys; m++) tile[m * tile_stride + n] += from[n * q_stride + m * k_stride] * log2_e;
}

}  // namespace vin::cpu::VIN_CPU_ISA
