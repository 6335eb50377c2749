// dx = dy · d gelu / dx
#include "activations.cuh"
#include "elementwise.cuh"

using namespace vin::cuda;

VIN_KERNEL gelu_backward_kernel(float* dx, const float* dy, const float* x, Walk<3> w);

#if VIN_DEVICE
VIN_KERNEL gelu_backward_kernel(float* dx, const float* dy, const float* x, Walk<3> w) {
    for_each_element(w, [&](const i64* at) { dx[at[0]] = dy[at[1]] * gelu_slope(x[at[2]]); });
}
VIN_EMULATED_KERNEL(gelu_backward_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_gelu_backward(vin_stream* stream, const vin_gelu_backward_args* args) {
    return launch_elementwise("gelu_backward", stream, VIN_KERNEL_OF(gelu_backward_kernel), {"dx", args->dx},
                              {"dy", args->dy}, {"x", args->x});
}
#endif
