// dprediction = weight[r] · (l1 · sign(p − t) + 2 · l2 · (p − t)), rows [R, C]; sign(0) is 0.
#include "check.h"

namespace vin::cpu::VIN_CPU_ISA {

vin_status reconstruction_loss_backward(vin_stream* stream, const vin_reconstruction_loss_backward_args* args) {
    const vin_tensor &dprediction = args->dprediction, &prediction = args->prediction, &target = args->target,
                     &weight = args->weight;
    if (vin_status status = expect("prediction", prediction, VIN_ROWS, -1, -1)) return status;
    const int64_t R = prediction.shape[0], C = prediction.shape[1];
    if (vin_status status = expect("target", target, VIN_ROWS, R, C)) return status;
    if (vin_status status = expect("dprediction", dprediction, VIN_ROWS, R, C)) return status;
    if (vin_status status = expect_if_present("weight", weight, VIN_DENSE, R)) return status;
    each_row(stream, R, 4 * C, [&](int64_t r) {
        const double factor = present(weight) ? f32(weight)[r] : 1;
        for (int64_t c = 0; c < C; c++) {
            const double difference = (double)at(prediction, r)[c] - (double)at(target, r)[c];
            const double sign = difference > 0 ? 1 : difference < 0 ? -1 : difference;  // NaN stays
            at(dprediction, r)[c] = (float)(factor * (args->l1 * sign + 2 * args->l2 * difference));
        }
    });
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
