// y = ½ x (1 + tanh(√(2/π)(x + 0.044715 x³)))
#include "activations.cuh"
#include "elementwise.cuh"

using namespace vin::cuda;

VIN_KERNEL gelu_kernel(float* y, const float* x, Walk<2> w);

#if VIN_DEVICE
VIN_KERNEL gelu_kernel(float* y, const float* x, Walk<2> w) {
    for_each_element(w, [&](const i64* at) { y[at[0]] = gelu_of(x[at[1]]); });
}
VIN_EMULATED_KERNEL(gelu_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_gelu(vin_stream* stream, const vin_gelu_args* args) {
    return launch_elementwise("gelu", stream, VIN_KERNEL_OF(gelu_kernel), {"y", args->y}, {"x", args->x});
}
#endif
