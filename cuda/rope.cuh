// Rotary embedding on adjacent pairs: numbers 2k and 2k + 1 of a head turn by the (cos, sin) in the same places of a
// table line.
#pragma once
#include "rows.cuh"

namespace vin {
namespace cuda {

// [R, H, d], the last dimension contiguous; data NULL: absent.
struct RowHeads {
    float* data;
    i64 row, head;
};
// [positions, d] dense; row r turns by line r / rows_per_position, rows past the table do not turn.
struct Rope {
    const float* table;
    i64 positions, rows_per_position, d;
};

#if VIN_DEVICE
VIN_DEVICE_FUNCTION float* head_of(const RowHeads& t, i64 r, i64 h) { return t.data + r * t.row + h * t.head; }

// The line of row r, or null where it does not turn.
VIN_DEVICE_FUNCTION const float* line_of(const Rope& rope, i64 r) {
    const i64 position = rope.table ? r / rope.rows_per_position : 0;
    return rope.table && position < rope.positions ? rope.table + position * rope.d : nullptr;
}

struct Pair {
    float first, second;
};
VIN_DEVICE_FUNCTION Pair turn(Pair x, const float* cos_sin) {
    return {x.first * cos_sin[0] - x.second * cos_sin[1], x.second * cos_sin[0] + x.first * cos_sin[1]};
}
// The inverse, which is also the transpose.
VIN_DEVICE_FUNCTION Pair turn_back(Pair x, const float* cos_sin) {
    return {x.first * cos_sin[0] + x.second * cos_sin[1], x.second * cos_sin[0] - x.first * cos_sin[1]};
}

// body(i, two) for each pair (i, i + 1) of a lane; the last of an odd number is alone, and two is false.
template <class Body>
VIN_DEVICE_FUNCTION void for_each_pair(int lane, i64 d, const Body& body) {
    for (i64 i = 2 * lane; i < d; i += 2 * row_lanes) body(i, i + 1 < d);
}
#endif

#if VIN_HOST
inline RowHeads row_heads(const vin_tensor& t) { return {f32(t), t.stride[0], t.stride[1]}; }
inline Rope rope_of(const vin_tensor& rope, int32_t rows_per_position) {
    return {f32(rope), rope.shape[0], rows_per_position, rope.shape[1]};
}
inline vin_status expect_rope(const char* op, const vin_tensor& rope, int64_t d, int32_t rows_per_position) {
    if (!present(rope)) return VIN_OK;
    if (d % 2) return fail(VIN_INVALID, "%s: expected an even head size for rope, found %lld", op, (long long)d);
    if (rows_per_position < 1)
        return fail(VIN_INVALID, "%s: expected rows_per_position of at least 1, found %d", op, (int)rows_per_position);
    return expect(op, "rope", rope, VIN_DTYPE_F32, DENSE, -1, d);
}
#endif

}  // namespace cuda
}  // namespace vin
