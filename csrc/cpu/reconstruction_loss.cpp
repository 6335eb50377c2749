// loss += Σ weight[r] · (l1 · |p − t| + l2 · (p − t)²) for rows [R, C]; sums in fp64.
#include "blocks.h"

namespace vin {
namespace cpu {
namespace VIN_CPU_ISA {

vin_status reconstruction_loss(vin_stream* stream, const vin_reconstruction_loss_args* args) {
    static const char op[] = "reconstruction_loss";
    const vin_tensor &loss = args->loss, &prediction = args->prediction, &target = args->target, &weight = args->weight;
    if (vin_status status = expect(op, "loss", loss, VIN_DTYPE_F64, VIN_DENSE, 1)) return status;
    if (vin_status status = expect(op, "prediction", prediction, VIN_DTYPE_F32, VIN_ROWS, -1, -1)) return status;
    const int64_t R = prediction.shape[0], C = prediction.shape[1],
                  rows = max((int64_t)1, 16384 / max((int64_t)1, C));  // rows of a block
    if (vin_status status = expect(op, "target", target, VIN_DTYPE_F32, VIN_ROWS, R, C)) return status;
    if (vin_status status = expect_if_present(op, "weight", weight, VIN_DTYPE_F32, VIN_DENSE, R)) return status;
    double total;
    const vin_status status = sum_blocks(stream, op, (R + rows - 1) / rows, &total, [&](int64_t block) {
        double sum = 0;
        for (int64_t r = block * rows; r < min(R, (block + 1) * rows); r++) {
            double row = 0;
            for (int64_t c = 0; c < C; c++) {
                const double difference = (double)f32(prediction)[r * prediction.stride[0] + c] -
                                          (double)f32(target)[r * target.stride[0] + c];
                row += args->l1 * fabs(difference) + args->l2 * difference * difference;
            }
            sum += present(weight) ? f32(weight)[r] * row : row;
        }
        return sum;
    });
    if (status == VIN_OK) *(double*)loss.data += total;
    return status;
}

}  // namespace VIN_CPU_ISA
}  // namespace cpu
}  // namespace vin
