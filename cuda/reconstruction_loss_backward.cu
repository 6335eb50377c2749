// dprediction = weight[r] · (l1 · sign(p − t) + 2 · l2 · (p − t)) for rows [R, C], in fp64; sign(0) is 0.
#include "differences.cuh"

using namespace vin::cuda;

VIN_KERNEL reconstruction_loss_backward_kernel(float* dprediction, const float* prediction, const float* target,
                                               const float* weight, double l1, double l2, Walk<4> w);

#if VIN_DEVICE
VIN_KERNEL reconstruction_loss_backward_kernel(float* dprediction, const float* prediction, const float* target,
                                               const float* weight, double l1, double l2, Walk<4> w) {
    for_each_element(w, [&](const i64* at) {
        const double difference = difference_of(prediction[at[1]], target[at[2]]);
        const double sign = difference > 0 ? 1 : difference < 0 ? -1 : difference;  // NaN stays
        dprediction[at[0]] = (float)(weight_of(weight, at[3]) * (l1 * sign + 2 * l2 * difference));
    });
}
VIN_EMULATED_KERNEL(reconstruction_loss_backward_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_reconstruction_loss_backward(vin_stream* stream,
                                                            const vin_reconstruction_loss_backward_args* args) {
    const char* const op = "reconstruction_loss_backward";
    const vin_tensor &dprediction = args->dprediction, &prediction = args->prediction, &target = args->target,
                     &weight = args->weight;
    VIN_CHECK(expect(op, "prediction", prediction, VIN_DTYPE_F32, ROWS, -1, -1));
    VIN_CHECK(expect_like(op, "target", target, VIN_DTYPE_F32, ROWS, prediction));
    VIN_CHECK(expect_like(op, "dprediction", dprediction, VIN_DTYPE_F32, ROWS, prediction));
    VIN_CHECK(expect_if_present(op, "weight", weight, VIN_DTYPE_F32, DENSE, prediction.shape[0]));
    const Walk<4> w = walk_differences(dprediction, prediction, target, weight, 0);
    return launch_over(w.elements, stream, VIN_KERNEL_OF(reconstruction_loss_backward_kernel), f32(dprediction),
                       f32(prediction), f32(target), f32(weight), args->l1, args->l2, w);
}
#endif
