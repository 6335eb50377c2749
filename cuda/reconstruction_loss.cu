// loss += Σ weight[r] · (l1 · |p − t| + l2 · (p − t)²) for rows [R, C], in fp64.
#include "differences.cuh"

using namespace vin::cuda;

VIN_KERNEL reconstruction_loss_kernel(double* partials, Reduction r, const float* prediction, const float* target,
                                      const float* weight, double l1, double l2, Walk<4> w);

#if VIN_DEVICE
VIN_KERNEL reconstruction_loss_kernel(double* partials, Reduction r, const float* prediction, const float* target,
                                      const float* weight, double l1, double l2, Walk<4> w) {
    sum_slices<1>(r, partials, [&](double (&value)[1], i64, i64 i) {
        i64 at[4];
        offsets_of(w, i, at);
        const double difference = difference_of(prediction[at[1]], target[at[2]]);
        value[0] = weight_of(weight, at[3]) * (l1 * fabs(difference) + l2 * difference * difference);
    });
}
VIN_EMULATED_KERNEL(reconstruction_loss_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_reconstruction_loss(vin_stream* stream, const vin_reconstruction_loss_args* args) {
    const char* const op = "reconstruction_loss";
    const vin_tensor &loss = args->loss, &prediction = args->prediction, &target = args->target, &weight = args->weight;
    VIN_CHECK(expect(op, "loss", loss, VIN_DTYPE_F64, DENSE, 1));
    VIN_CHECK(expect(op, "prediction", prediction, VIN_DTYPE_F32, ROWS, -1, -1));
    VIN_CHECK(expect_like(op, "target", target, VIN_DTYPE_F32, ROWS, prediction));
    VIN_CHECK(expect_if_present(op, "weight", weight, VIN_DTYPE_F32, DENSE, prediction.shape[0]));
    const Walk<4> w = walk_differences(dense_like(prediction), prediction, target, weight, 0);
    return sum_to_scalar(stream, loss, 1, true, w.elements, VIN_KERNEL_OF(reconstruction_loss_kernel), f32(prediction),
                         f32(target), f32(weight), args->l1, args->l2, w);
}
#endif
