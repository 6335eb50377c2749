// y = x / (1 + exp(−x))
#include "activations.cuh"
#include "elementwise.cuh"

using namespace vin::cuda;

VIN_KERNEL silu_kernel(float* y, const float* x, Walk<2> w);

#if VIN_DEVICE
VIN_KERNEL silu_kernel(float* y, const float* x, Walk<2> w) {
    for_each_element(w, [&](const i64* at) { y[at[0]] = silu_of(x[at[1]]); });
}
VIN_EMULATED_KERNEL(silu_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_silu(vin_stream* stream, const vin_silu_args* args) {
    return launch_elementwise("silu", stream, VIN_KERNEL_OF(silu_kernel), {"y", args->y}, {"x", args->x});
}
#endif
