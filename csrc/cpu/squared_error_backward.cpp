// dprediction = scale · weight[f] · 2 (prediction − target), [C, F, H, W].
#include "check.h"

namespace vin::cpu::VIN_CPU_ISA {

vin_status squared_error_backward(vin_stream* stream, const vin_squared_error_backward_args* args) {
    const vin_tensor &dprediction = args->dprediction, &prediction = args->prediction, &target = args->target,
                     &weight = args->weight;
    if (vin_status status = expect("prediction", prediction, VIN_STRIDED, -1, -1, -1, -1)) return status;
    if (vin_status status = expect_like("target", target, VIN_STRIDED, prediction)) return status;
    if (vin_status status = expect_like("dprediction", dprediction, VIN_STRIDED_OUTPUT, prediction)) return status;
    const int64_t C = prediction.shape[0], F = prediction.shape[1], height = prediction.shape[2],
                  width = prediction.shape[3];
    if (vin_status status = expect_if_present("weight", weight, VIN_DENSE, F)) return status;
    each_row(stream, C * F * height, 3 * width, [&](int64_t item) {
        const int64_t h = item % height, f = item / height % F, c = item / height / F;
        const double factor = 2 * args->scale * (present(weight) ? f32(weight)[f] : 1.f);
        float* to = at(dprediction, c, f, h);
        const float* p = at(prediction, c, f, h);
        const float* t = at(target, c, f, h);
        for (int64_t w = 0; w < width; w++)
            to[w * dprediction.stride[3]] =
                (float)(factor * ((double)p[w * prediction.stride[3]] - (double)t[w * target.stride[3]]));
    });
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
