// loss += scale · Σ_f weight[f] Σ (prediction − target)² for [C, F, H, W], in fp64.
#include "differences.cuh"

using namespace vin::cuda;

VIN_KERNEL squared_error_kernel(double* partials, Reduction r, const float* prediction, const float* target,
                                const float* weight, Walk<4> w);

#if VIN_DEVICE
VIN_KERNEL squared_error_kernel(double* partials, Reduction r, const float* prediction, const float* target,
                                const float* weight, Walk<4> w) {
    sum_slices<1>(r, partials, [&](double (&value)[1], i64, i64 i) {
        i64 at[4];
        offsets_of(w, i, at);
        const double difference = difference_of(prediction[at[1]], target[at[2]]);
        value[0] = weight_of(weight, at[3]) * (difference * difference);
    });
}
VIN_EMULATED_KERNEL(squared_error_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_squared_error(vin_stream* stream, const vin_squared_error_args* args) {
    const char* const op = "squared_error";
    const vin_tensor &loss = args->loss, &prediction = args->prediction, &target = args->target, &weight = args->weight;
    VIN_CHECK(expect(op, "loss", loss, VIN_DTYPE_F64, DENSE, 1));
    VIN_CHECK(expect(op, "prediction", prediction, VIN_DTYPE_F32, STRIDED, -1, -1, -1, -1));
    VIN_CHECK(expect_like(op, "target", target, VIN_DTYPE_F32, STRIDED, prediction));
    VIN_CHECK(expect_if_present(op, "weight", weight, VIN_DTYPE_F32, DENSE, prediction.shape[1]));
    const Walk<4> w = walk_differences(dense_like(prediction), prediction, target, weight, 1);
    return sum_to_scalar(stream, loss, args->scale, true, w.elements, VIN_KERNEL_OF(squared_error_kernel),
                         f32(prediction), f32(target), f32(weight), w);
}
#endif
