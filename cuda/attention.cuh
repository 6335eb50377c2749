// Operands of attention and its gradients, and the tile of scores that both compute.
#pragma once
#include "product.cuh"

namespace vin {
namespace cuda {

constexpr int max_head_size = 512;
// Scores count in base 2: exp2 is what the device has.
constexpr float log2_e = 1.44269504f, ln_2 = 0.693147181f;

// A block has T × T threads and takes 4T rows: T = 8 where there are few of them, as in temporal attention. A row's
// sums are so many tiles of 4T columns, in registers.
constexpr int few_T = 8, few_parts = 4, narrow_parts = 2, wide_parts = 8;
constexpr int narrow_head = 4 * product_threads * narrow_parts;
static_assert(4 * few_T * few_parts >= narrow_head && 4 * product_threads * wide_parts >= max_head_size,
              "columns of a head");

// [B, H, rows, d], the last dimension contiguous; data NULL: absent.
struct Heads {
    float* data;
    i64 batch, head, row;
};
// [B, H, Q, K]; data NULL: absent.
struct Scores {
    float* data;
    i64 batch, head, query, key;
};
struct AttentionShape {
    i64 B, H, Q, K;
    int d;
    float scale;
};

// Shared memory of a block of T × T threads: two tiles of a product, a tile of 4T × 4T weights behind them, and numbers
// per line.
VIN_CONSTEXPR int weights_at(int T) { return 2 * product_tile_numbers(T); }
VIN_CONSTEXPR int attention_tiles(int T) { return 6 * product_tile_numbers(T); }

#if VIN_DEVICE
VIN_DEVICE_FUNCTION float minus_infinity() { return __uint_as_float(0xff800000u); }

VIN_DEVICE_FUNCTION float* head_of(const Heads& t, i64 b, i64 h) { return t.data + b * t.batch + h * t.head; }
VIN_DEVICE_FUNCTION float* head_of(const Scores& t, i64 b, i64 h) { return t.data + b * t.batch + h * t.head; }
// Lines are rows, k runs along them; or lines are the columns of a row, k runs over the rows.
VIN_DEVICE_FUNCTION AlongK rows_of(const Heads& t, i64 b, i64 h, i64 rows) { return {head_of(t, b, h), t.row, rows}; }
VIN_DEVICE_FUNCTION AcrossK columns_of(const Heads& t, i64 b, i64 h, int d) { return {head_of(t, b, h), t.row, d}; }
#endif

#if VIN_HOST
inline Heads heads(const vin_tensor& t) { return {f32(t), t.stride[0], t.stride[1], t.stride[2]}; }
inline Scores scores(const vin_tensor& t) { return {f32(t), t.stride[0], t.stride[1], t.stride[2], t.stride[3]}; }

inline vin_status expect_attention(const char* op, const vin_tensor& q, const vin_tensor& k, const vin_tensor& v,
                                   const vin_tensor& bias) {
    VIN_CHECK(expect(op, "q", q, VIN_DTYPE_F32, ROWS, -1, -1, -1, -1));
    const int64_t B = q.shape[0], H = q.shape[1], Q = q.shape[2], d = q.shape[3];
    if (d > max_head_size)
        return fail(VIN_NOT_SUPPORTED, "%s: expected a head size up to %d, found %lld", op, max_head_size,
                    (long long)d);
    VIN_CHECK(expect(op, "k", k, VIN_DTYPE_F32, ROWS, B, H, -1, d));
    VIN_CHECK(expect(op, "v", v, VIN_DTYPE_F32, ROWS, B, H, k.shape[2], d));
    return expect_if_present(op, "bias", bias, VIN_DTYPE_F32, STRIDED, B, H, Q, k.shape[2]);
}
inline AttentionShape attention_shape(const vin_tensor& q, const vin_tensor& k, float scale) {
    return {q.shape[0], q.shape[1], q.shape[2], k.shape[2], (int)q.shape[3], scale};
}
#endif

}  // namespace cuda
}  // namespace vin
