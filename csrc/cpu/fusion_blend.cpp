// y[:, k] = ((F − k) · earlier[:, k] + k · later[:, k]) / F for [C, F, H, W]. In fp64, so that equal inputs come back
// unchanged.
#include "check.h"

namespace vin::cpu::VIN_CPU_ISA {

static vin_status expect_planes(const char* operand, const vin_tensor& t, const vin_tensor& like, vin_layout layout) {
    if (vin_status status = expect_like(operand, t, layout, like)) return status;
    const int64_t height = t.shape[2], width = t.shape[3];
    if (count(t) == 0 || ((width == 1 || t.stride[3] == 1) && (height == 1 || t.stride[2] == width))) return VIN_OK;
    return vin_cpu_refuse(VIN_INVALID, "expected contiguous planes of %lld × %lld in %s, found strides %lld, %lld",
                          (long long)height, (long long)width, operand, (long long)t.stride[2], (long long)t.stride[3]);
}

vin_status fusion_blend(vin_stream* stream, const vin_fusion_blend_args* args) {
    const vin_tensor &y = args->y, &earlier = args->earlier, &later = args->later;
    if (vin_status status = expect("y", y, VIN_STRIDED_OUTPUT, -1, -1, -1, -1)) return status;
    if (vin_status status = expect_planes("y", y, y, VIN_STRIDED_OUTPUT)) return status;
    if (vin_status status = expect_planes("earlier", earlier, y, VIN_STRIDED)) return status;
    if (vin_status status = expect_planes("later", later, y, VIN_STRIDED)) return status;
    const int64_t F = y.shape[1], plane = y.shape[2] * y.shape[3];
    each_row(stream, y.shape[0] * F, 2 * plane, [&](int64_t item) {
        const int64_t c = item / F, k = item % F;
        const double keep = (double)(F - k), take = (double)k, frames = (double)F;
        float* to = at(y, c, k);
        const float *from = at(earlier, c, k), *next = at(later, c, k);
        for (int64_t i = 0; i < plane; i++) to[i] = (float)((keep * from[i] + take * next[i]) / frames);
    });
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
