// A picture [C, N, H, W] and its patches of 2 × 2, [N, S, P] dense in row order, S = ⌈H/2⌉ · ⌈W/2⌉. Element of a patch:
// channel · 4 + dy · 2 + dx, or with channels_last (dy · 2 + dx) · (P/4) + channel, where P may be more than 4 · C.
#pragma once
#include "strided.cuh"

namespace vin {
namespace cuda {

// [C, N, H, W], rows of W contiguous.
struct Pictures {
    float* data;
    i64 C, N, height, width, channel, picture, row;  // sizes, then strides
};
struct Patches {
    float* data;
    i64 columns, count, P;  // of one picture: patches in a row, patches in all; elements of a patch
    int channels_last;
};

#if VIN_DEVICE
VIN_DEVICE_FUNCTION float& picture_element(const Pictures& t, i64 c, i64 n, i64 h, i64 w) {
    return t.data[c * t.channel + n * t.picture + h * t.row + w];
}
#endif

#if VIN_HOST
inline Pictures pictures_of(const vin_tensor& t) {
    return {f32(t), t.shape[0], t.shape[1], t.shape[2], t.shape[3], t.stride[0], t.stride[1], t.stride[2]};
}
// Checks both operands: `pictures` is [C, N, H, W] rows, `patches` has to belong to it.
inline vin_status patches_of(const char* op, const char* pictures_name, const vin_tensor& pictures,
                             const char* patches_name, const vin_tensor& patches, int32_t channels_last,
                             Patches* found) {
    VIN_CHECK(expect(op, pictures_name, pictures, VIN_DTYPE_F32, ROWS, -1, -1, -1, -1));
    const int64_t C = pictures.shape[0], columns = divide_up(pictures.shape[3], 2),
                  each = divide_up(pictures.shape[2], 2) * columns;
    const bool wider = channels_last && patches.rank == 3 && patches.shape[2] % 4 == 0 && patches.shape[2] > 4 * C;
    const int64_t P = wider ? patches.shape[2] : 4 * C;
    VIN_CHECK(expect(op, patches_name, patches, VIN_DTYPE_F32, DENSE, pictures.shape[1], each, P));
    *found = {f32(patches), columns, each, P, channels_last != 0};
    return VIN_OK;
}
#endif

}  // namespace cuda
}  // namespace vin
