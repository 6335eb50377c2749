// Rows of [R, C] with a stride, rows that are picked by group, and sums over a row.
#pragma once
#include "device.cuh"

namespace vin {
namespace cuda {

// [R, C], columns contiguous; data NULL: absent.
struct Rows {
    float* data;
    i64 stride;
};
// [groups, C] of which row r uses row group[r], or 0 without `group`; data NULL: absent.
struct GroupRows {
    float* data;
    const int* group;
    i64 stride, groups;
};

// The rows of a kernel that sums over each of them: a row is 32 threads, a block 4 rows.
constexpr int row_lanes = 32, rows_per_block = 4;
template <class Number = float>
VIN_CONSTEXPR int row_shared_bytes(int arrays = 1) {
    return arrays * shared_bytes<Number>(row_lanes * rows_per_block);
}

#if VIN_DEVICE
VIN_DEVICE_FUNCTION float* row_of(const Rows& t, i64 r) { return t.data + r * t.stride; }

VIN_DEVICE_FUNCTION float not_a_number() { return __uint_as_float(0x7fc00000u); }

// Which group row r is of, −1 if there is no such group.
VIN_DEVICE_FUNCTION i64 group_of(const GroupRows& t, i64 r) {
    const i64 g = t.group ? t.group[r] : 0;
    return g >= 0 && g < t.groups ? g : -1;
}
// Number c of the line of row r; NaN where the row's group does not exist.
VIN_DEVICE_FUNCTION float group_value(const GroupRows& t, i64 r, i64 c) {
    const i64 g = group_of(t, r);
    return g < 0 ? not_a_number() : t.data[g * t.stride + c];
}

// The row of this thread, and its place in it; r may be R or more, and then only barriers are left to do.
struct RowPlace {
    i64 r;
    int lane, first;  // first: of the row's lanes among the block's threads
};
VIN_DEVICE_FUNCTION RowPlace row_place() {
    const int thread = threadIdx.x;
    return {(i64)blockIdx.x * rows_per_block + thread / row_lanes, thread % row_lanes, thread / row_lanes * row_lanes};
}
// Σ over the row's lanes, in their order; the same number for each of them. Every thread of the block takes part; a
// second sum needs an array of its own.
template <class Number>
VIN_DEVICE_FUNCTION Number row_sum(const SharedArray<Number>& values, const RowPlace& place, Number value) {
    values[place.first + place.lane] = value;
    __syncthreads();
    Number total = 0;
    for (int i = 0; i < row_lanes; i++) total += values[place.first + i];
    return total;
}
#endif

#if VIN_HOST
inline Rows rows(const vin_tensor& t) { return {f32(t), t.rank > 1 ? t.stride[0] : 0}; }
inline GroupRows group_rows(const vin_tensor& t, const vin_tensor& group) {
    return {f32(t), i32(group), t.stride[0], t.shape[0]};
}
inline Grid row_grid(int64_t R) { return {(unsigned)divide_up(R, rows_per_block)}; }
constexpr Grid row_block = {row_lanes * rows_per_block};
#endif

}  // namespace cuda
}  // namespace vin
