// loss += scale · Σ_f weight[f] Σ (prediction − target)² for [C, F, H, W]; sums in fp64, a block is one channel of one
// frame.
#include "blocks.h"

namespace vin::cpu::VIN_CPU_ISA {

vin_status squared_error(vin_stream* stream, const vin_squared_error_args* args) {
    const vin_tensor &loss = args->loss, &prediction = args->prediction, &target = args->target, &weight = args->weight;
    if (vin_status status = expect_typed("loss", loss, VIN_DTYPE_F64, VIN_DENSE, 1)) return status;
    if (vin_status status = expect("prediction", prediction, VIN_STRIDED, -1, -1, -1, -1)) return status;
    if (vin_status status = expect_like("target", target, VIN_STRIDED, prediction)) return status;
    const int64_t C = prediction.shape[0], F = prediction.shape[1], height = prediction.shape[2],
                  width = prediction.shape[3];
    if (vin_status status = expect_if_present("weight", weight, VIN_DENSE, F)) return status;
    double total;
    const vin_status status = sum_blocks(stream, C * F, &total, [&](int64_t block) {
        const int64_t c = block / F, f = block % F;
        double sum = 0;
        for (int64_t h = 0; h < height; h++) {
            const float* p = at(prediction, c, f, h);
            const float* t = at(target, c, f, h);
            for (int64_t w = 0; w < width; w++) {
                const double difference = (double)p[w * prediction.stride[3]] - (double)t[w * target.stride[3]];
                sum += difference * difference;
            }
        }
        return present(weight) ? f32(weight)[f] * sum : sum;
    });
    if (status == VIN_OK) *f64(loss) += args->scale * total;
    return status;
}

}  // namespace vin::cpu::VIN_CPU_ISA
