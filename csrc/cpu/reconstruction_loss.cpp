// loss += Σ weight[r] · (l1 · |p − t| + l2 · (p − t)²) for rows [R, C]; sums in fp64.
#include "blocks.h"

namespace vin::cpu::VIN_CPU_ISA {

vin_status reconstruction_loss(vin_stream* stream, const vin_reconstruction_loss_args* args) {
    const vin_tensor &loss = args->loss, &prediction = args->prediction, &target = args->target, &weight = args->weight;
    if (vin_status status = expect_typed("loss", loss, VIN_DTYPE_F64, VIN_DENSE, 1)) return status;
    if (vin_status status = expect("prediction", prediction, VIN_ROWS, -1, -1)) return status;
    const int64_t R = prediction.shape[0], C = prediction.shape[1],
                  rows = max(1, 16384 / max(1, C));  // rows of a block
    if (vin_status status = expect("target", target, VIN_ROWS, R, C)) return status;
    if (vin_status status = expect_if_present("weight", weight, VIN_DENSE, R)) return status;
    double total;
    const vin_status status = sum_blocks(stream, (R + rows - 1) / rows, &total, [&](int64_t block) {
        double sum = 0;
        for (int64_t r = block * rows; r < min(R, (block + 1) * rows); r++) {
            double row = 0;
            for (int64_t c = 0; c < C; c++) {
                const double difference = (double)at(prediction, r)[c] - (double)at(target, r)[c];
                row += args->l1 * fabs(difference) + args->l2 * difference * difference;
            }
            sum += present(weight) ? f32(weight)[r] * row : row;
        }
        return sum;
    });
    if (status == VIN_OK) *f64(loss) += total;
    return status;
}

}  // namespace vin::cpu::VIN_CPU_ISA
