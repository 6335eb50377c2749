// average = decay · average + (1 − decay) · weight, in fp64 and rounded once: a decay near 1 leaves little for the
// second term.
#include "check.h"

namespace vin::cpu::VIN_CPU_ISA {

vin_status ema(vin_stream* stream, const vin_ema_args* args) {
    const vin_tensor &average = args->average, &weight = args->weight;
    if (vin_status status = expect_like("average", average, VIN_DENSE, average)) return status;
    if (vin_status status = expect_like("weight", weight, VIN_DENSE, average)) return status;
    const double keep = args->decay, take = 1 - args->decay;
    parallel_rows(stream, count(average), 2, [&](int64_t begin, int64_t end) {
        float* __restrict to = f32(average);
        const float* __restrict from = f32(weight);
        for (int64_t i = begin; i < end; i++) to[i] = (float)(keep * to[i] + take * from[i]);
    });
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
