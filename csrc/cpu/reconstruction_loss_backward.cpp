// dprediction = weight[r] · (l1 · sign(p − t) + 2 · l2 · (p − t)), rows [R, C]; sign(0) is 0.
#include "check.h"

namespace vin {
namespace cpu {
namespace VIN_CPU_ISA {

vin_status reconstruction_loss_backward(vin_stream* stream, const vin_reconstruction_loss_backward_args* args) {
    static const char op[] = "reconstruction_loss_backward";
    const vin_tensor &dprediction = args->dprediction, &prediction = args->prediction, &target = args->target,
                     &weight = args->weight;
    if (vin_status status = expect(op, "prediction", prediction, VIN_DTYPE_F32, VIN_ROWS, -1, -1)) return status;
    const int64_t R = prediction.shape[0], C = prediction.shape[1];
    if (vin_status status = expect(op, "target", target, VIN_DTYPE_F32, VIN_ROWS, R, C)) return status;
    if (vin_status status = expect(op, "dprediction", dprediction, VIN_DTYPE_F32, VIN_ROWS, R, C)) return status;
    if (vin_status status = expect_if_present(op, "weight", weight, VIN_DTYPE_F32, VIN_DENSE, R)) return status;
    parallel_rows(stream, R, 4 * C, [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; r++) {
            const double factor = present(weight) ? f32(weight)[r] : 1;
            for (int64_t c = 0; c < C; c++) {
                const double difference = (double)f32(prediction)[r * prediction.stride[0] + c] -
                                          (double)f32(target)[r * target.stride[0] + c];
                const double sign = difference > 0 ? 1 : difference < 0 ? -1 : difference;  // NaN stays
                f32(dprediction)[r * dprediction.stride[0] + c] =
                    (float)(factor * (args->l1 * sign + 2 * args->l2 * difference));
            }
        }
    });
    return VIN_OK;
}

}  // namespace VIN_CPU_ISA
}  // namespace cpu
}  // namespace vin
