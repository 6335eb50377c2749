// dprediction = scale · weight[f] · 2 (prediction − target), [C, F, H, W].
#include "check.h"

namespace vin {
namespace cpu {
namespace VIN_CPU_ISA {

vin_status squared_error_backward(vin_stream* stream, const vin_squared_error_backward_args* args) {
    static const char op[] = "squared_error_backward";
    const vin_tensor &dprediction = args->dprediction, &prediction = args->prediction, &target = args->target,
                     &weight = args->weight;
    if (vin_status status = expect(op, "prediction", prediction, VIN_DTYPE_F32, VIN_STRIDED, -1, -1, -1, -1))
        return status;
    if (vin_status status = expect_like(op, "target", target, VIN_DTYPE_F32, VIN_STRIDED, prediction)) return status;
    if (vin_status status = expect_like(op, "dprediction", dprediction, VIN_DTYPE_F32, VIN_STRIDED_OUTPUT, prediction))
        return status;
    const int64_t C = prediction.shape[0], F = prediction.shape[1], height = prediction.shape[2],
                  width = prediction.shape[3];
    if (vin_status status = expect_if_present(op, "weight", weight, VIN_DTYPE_F32, VIN_DENSE, F)) return status;
    parallel_rows(stream, C * F * height, 3 * width, [&](int64_t begin, int64_t end) {
        for (int64_t item = begin; item < end; item++) {
            const int64_t h = item % height, f = item / height % F, c = item / height / F;
            const double factor = 2 * args->scale * (present(weight) ? f32(weight)[f] : 1.f);
            float* to =
                f32(dprediction) + c * dprediction.stride[0] + f * dprediction.stride[1] + h * dprediction.stride[2];
            const float* p =
                f32(prediction) + c * prediction.stride[0] + f * prediction.stride[1] + h * prediction.stride[2];
            const float* t = f32(target) + c * target.stride[0] + f * target.stride[1] + h * target.stride[2];
            for (int64_t w = 0; w < width; w++)
                to[w * dprediction.stride[3]] =
                    (float)(factor * ((double)p[w * prediction.stride[3]] - (double)t[w * target.stride[3]]));
        }
    });
    return VIN_OK;
}

}  // namespace VIN_CPU_ISA
}  // namespace cpu
}  // namespace vin
