// average = decay · average + (1 − decay) · weight, in fp64 and rounded once: a decay near 1 leaves little for the
// second term.
#include "strided.cuh"

using namespace vin::cuda;

VIN_KERNEL ema_kernel(float* average, const float* weight, double decay, i64 elements);

#if VIN_DEVICE
VIN_KERNEL ema_kernel(float* average, const float* weight, double decay, i64 elements) {
    for_each_item(elements, [&](i64 i) { average[i] = (float)(decay * average[i] + (1 - decay) * weight[i]); });
}
VIN_EMULATED_KERNEL(ema_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_ema(vin_stream* stream, const vin_ema_args* args) {
    const vin_tensor &average = args->average, &weight = args->weight;
    VIN_CHECK(expect_like("ema", "average", average, VIN_DTYPE_F32, DENSE, average));
    VIN_CHECK(expect_like("ema", "weight", weight, VIN_DTYPE_F32, DENSE, average));
    return launch_over(count(average), stream, VIN_KERNEL_OF(ema_kernel), f32(average), f32(weight),
                       (double)args->decay, count(average));
}
#endif
