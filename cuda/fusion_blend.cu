// y[:,k] = ((F − k) · earlier[:,k] + k · later[:,k]) / F, the overlap of two chunks (model.md §3.6); all [C,F,H,W],
// planes H × W contiguous. In fp64, as on the CPU: products of a frame count and an fp32 number are exact there, so
// contraction cannot change a bit and equal inputs come back unchanged.
#include "strided.cuh"

using namespace vin::cuda;

struct FusionBlendView {
    float* data;
    i64 channel_stride, frame_stride;
};

VIN_KERNEL fusion_blend_kernel(FusionBlendView y, FusionBlendView earlier, FusionBlendView later, int frames, i64 plane,
                               i64 elements);

#if VIN_DEVICE
VIN_KERNEL fusion_blend_kernel(FusionBlendView y, FusionBlendView earlier, FusionBlendView later, int frames, i64 plane,
                               i64 elements) {
    for_each_item(elements, [&](i64 i) {
        const i64 pixel = i % plane, frame = i / plane % frames, channel = i / plane / frames;
        const double a = earlier.data[channel * earlier.channel_stride + frame * earlier.frame_stride + pixel];
        const double b = later.data[channel * later.channel_stride + frame * later.frame_stride + pixel];
        const double blended = ((double)(frames - frame) * a + (double)frame * b) / (double)frames;
        y.data[channel * y.channel_stride + frame * y.frame_stride + pixel] = (float)blended;
    });
}
VIN_EMULATED_KERNEL(fusion_blend_kernel)
#endif

#if VIN_HOST
static vin_status expect_planes(const char* operand, const vin_tensor& t, Layout layout, const vin_tensor& like) {
    VIN_CHECK(expect_like("fusion_blend", operand, t, VIN_DTYPE_F32, layout, like));
    const int64_t height = t.shape[2], width = t.shape[3];
    if (count(t) == 0 || ((width == 1 || t.stride[3] == 1) && (height == 1 || t.stride[2] == width))) return VIN_OK;
    return fail(VIN_INVALID, "fusion_blend: expected contiguous planes of %lld × %lld in %s, found strides %lld, %lld",
                (long long)height, (long long)width, operand, (long long)t.stride[2], (long long)t.stride[3]);
}

extern "C" vin_status vin_cuda_fusion_blend(vin_stream* stream, const vin_fusion_blend_args* args) {
    const vin_tensor& y = args->y;
    VIN_CHECK(expect("fusion_blend", "y", y, VIN_DTYPE_F32, STRIDED_OUTPUT, -1, -1, -1, -1));
    VIN_CHECK(expect_planes("y", y, STRIDED_OUTPUT, y));
    VIN_CHECK(expect_planes("earlier", args->earlier, STRIDED, y));
    VIN_CHECK(expect_planes("later", args->later, STRIDED, y));
    const auto view = [](const vin_tensor& t) { return FusionBlendView{f32(t), t.stride[0], t.stride[1]}; };
    return launch_over(count(y), stream, VIN_KERNEL_OF(fusion_blend_kernel), view(y), view(args->earlier),
                       view(args->later), (int)y.shape[1], y.shape[2] * y.shape[3], count(y));
}
#endif
