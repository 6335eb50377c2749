// y[:,k] = ((F − k) · earlier[:,k] + k · later[:,k]) / F, the overlap of two chunks (model.md §3.6); all [C,F,H,W],
// planes H × W contiguous. In fp64, as on the CPU: products of a frame count and an fp32 number are exact there, so
// contraction cannot change a bit and equal inputs come back unchanged.
#include "device.cuh"

struct FusionBlendView {
    float* data;
    long long channel_stride, frame_stride;
};

VIN_KERNEL fusion_blend_kernel(FusionBlendView y, FusionBlendView earlier, FusionBlendView later, int frames,
                               long long plane, long long elements);

#if VIN_DEVICE
// One thread per element; an element past the grid is reached by a stride of the whole grid.
VIN_KERNEL fusion_blend_kernel(FusionBlendView y, FusionBlendView earlier, FusionBlendView later, int frames,
                               long long plane, long long elements) {
    const long long step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < elements; i += step) {
        const long long pixel = i % plane, frame = i / plane % frames, channel = i / plane / frames;
        const double a = earlier.data[channel * earlier.channel_stride + frame * earlier.frame_stride + pixel];
        const double b = later.data[channel * later.channel_stride + frame * later.frame_stride + pixel];
        const double blended = ((double)(frames - frame) * a + (double)frame * b) / (double)frames;
        y.data[channel * y.channel_stride + frame * y.frame_stride + pixel] = (float)blended;
    }
}
VIN_EMULATED_KERNEL(fusion_blend_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_fusion_blend(vin_stream* stream, const vin_fusion_blend_args* args) {
    using namespace vin::cuda;
    const vin_tensor& y = args->y;
    if (y.rank != 4)
        return fail(VIN_INVALID, "fusion_blend: y has rank %d, expected 4 (channels, frames, height, width)", y.rank);
    const auto view = [](const vin_tensor& t) {
        return FusionBlendView{static_cast<float*>(t.data), t.stride[0], t.stride[1]};
    };
    const struct {
        const char* name;
        const vin_tensor& tensor;
    } operands[] = {{"y", y}, {"earlier", args->earlier}, {"later", args->later}};
    for (const auto& [name, t] : operands) {
        if (vin_status status = expect_f32("fusion_blend", name, t, {y.shape[0], y.shape[1], y.shape[2], y.shape[3]}))
            return status;
        if ((t.shape[3] > 1 && t.stride[3] != 1) || (t.shape[2] > 1 && t.stride[2] != t.shape[3]))
            return fail(VIN_INVALID,
                        "fusion_blend: %s has strides that leave gaps in its H × W planes, expected contiguous planes",
                        name);
    }
    const int64_t elements = count(y);
    if (elements == 0 || !y.data) return VIN_OK;
    constexpr int threads = 256;  // enough to fill a multiprocessor with 8 blocks; no shared memory, few registers
    const int64_t blocks = (elements + threads - 1) / threads;
    constexpr int64_t most_blocks = 65535;  // more elements are reached by the stride
    return launch({(unsigned)(blocks < most_blocks ? blocks : most_blocks)}, {threads}, 0, stream,
                  VIN_KERNEL_OF(fusion_blend_kernel), view(y), view(args->earlier), view(args->later), (int)y.shape[1],
                  y.shape[2] * y.shape[3], elements);
}
#endif
