// y = a + b
#include "elementwise.cuh"

using namespace vin::cuda;

VIN_KERNEL add_kernel(float* y, const float* a, const float* b, Walk<3> w);

#if VIN_DEVICE
VIN_KERNEL add_kernel(float* y, const float* a, const float* b, Walk<3> w) {
    for_each_element(w, [&](const i64* at) { y[at[0]] = a[at[1]] + b[at[2]]; });
}
VIN_EMULATED_KERNEL(add_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_add(vin_stream* stream, const vin_add_args* args) {
    return launch_elementwise("add", stream, VIN_KERNEL_OF(add_kernel), {"y", args->y}, {"a", args->a}, {"b", args->b});
}
#endif
