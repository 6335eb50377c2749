// dprediction = scale · weight[f] · 2 (prediction − target) for [C, F, H, W], in fp64.
#include "differences.cuh"

using namespace vin::cuda;

VIN_KERNEL squared_error_backward_kernel(float* dprediction, const float* prediction, const float* target,
                                         const float* weight, double scale, Walk<4> w);

#if VIN_DEVICE
VIN_KERNEL squared_error_backward_kernel(float* dprediction, const float* prediction, const float* target,
                                         const float* weight, double scale, Walk<4> w) {
    for_each_element(w, [&](const i64* at) {
        const double factor = 2 * scale * weight_of(weight, at[3]);
        dprediction[at[0]] = (float)(factor * difference_of(prediction[at[1]], target[at[2]]));
    });
}
VIN_EMULATED_KERNEL(squared_error_backward_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_squared_error_backward(vin_stream* stream, const vin_squared_error_backward_args* args) {
    const char* const op = "squared_error_backward";
    const vin_tensor &dprediction = args->dprediction, &prediction = args->prediction, &target = args->target,
                     &weight = args->weight;
    VIN_CHECK(expect(op, "prediction", prediction, VIN_DTYPE_F32, STRIDED, -1, -1, -1, -1));
    VIN_CHECK(expect_like(op, "target", target, VIN_DTYPE_F32, STRIDED, prediction));
    VIN_CHECK(expect_like(op, "dprediction", dprediction, VIN_DTYPE_F32, STRIDED_OUTPUT, prediction));
    VIN_CHECK(expect_if_present(op, "weight", weight, VIN_DTYPE_F32, DENSE, prediction.shape[1]));
    const Walk<4> w = walk_differences(dprediction, prediction, target, weight, 1);
    return launch_over(w.elements, stream, VIN_KERNEL_OF(squared_error_backward_kernel), f32(dprediction),
                       f32(prediction), f32(target), f32(weight), (double)args->scale, w);
}
#endif
