// Shared by group_norm and its gradients: sums per channel of each image, then per group.
#pragma once
#include "reduce.cuh"
#include "rows.cuh"

namespace vin {
namespace cuda {

// x [B, P, C], C in `groups` equal groups.
struct GroupNormShape {
    i64 B, P, C;
    int groups, channels;  // channels of a group
};

#if VIN_DEVICE
// Σ over the slices, and over the channels of group `place.r` = (image, group), by the 32 lanes of a row: of partials
// that sum_slices left for outputs (image, channel), each times weight[channel] if there is one.
VIN_DEVICE_FUNCTION double group_sum(const SharedArray<double>& values, const RowPlace& place, const double* partials,
                                     const GroupNormShape& s, i64 slices, const float* weight) {
    const i64 image = place.r / s.groups, first = place.r % s.groups * s.channels,
              terms = image < s.B ? slices * s.channels : 0;
    double total = 0;
    for (i64 i = place.lane; i < terms; i += row_lanes) {
        const i64 channel = first + i % s.channels;
        const double part = partials[(i / s.channels * s.B + image) * s.C + channel];
        total += weight ? weight[channel] * part : part;
    }
    return row_sum(values, place, total);
}
#endif

#if VIN_HOST
inline vin_status expect_groups(const char* op, const vin_tensor& x, int32_t groups, GroupNormShape* shape) {
    VIN_CHECK(expect(op, "x", x, VIN_DTYPE_F32, DENSE, -1, -1, -1));
    const int64_t C = x.shape[2];
    if (groups <= 0 || C % groups)
        return fail(VIN_INVALID, "%s: expected groups that divide %lld channels, found %d", op, (long long)C,
                    (int)groups);
    *shape = {x.shape[0], x.shape[1], C, groups, (int)(C / groups)};
    return VIN_OK;
}
#endif

}  // namespace cuda
}  // namespace vin
