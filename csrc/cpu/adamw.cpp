// g = gradient · clip; m = β₁ m + (1 − β₁) g; v = β₂ v + (1 − β₂) g²; w −= lr · (weight_decay · w + (m / correction1) /
// (√(v / correction2) + eps)). Coefficients are computed in fp64, elements in fp32. Where clip is
// NaN nothing changes.
#include "check.h"

namespace vin::cpu::VIN_CPU_ISA {

vin_status adamw(vin_stream* stream, const vin_adamw_args* args) {
    const vin_tensor &weight = args->weight, &first = args->first_moment, &second = args->second_moment,
                     &gradient = args->gradient, &clip = args->clip;
    if (vin_status status = expect_like("weight", weight, VIN_DENSE, weight)) return status;
    if (vin_status status = expect_like("first_moment", first, VIN_DENSE, weight)) return status;
    if (vin_status status = expect_like("second_moment", second, VIN_DENSE, weight)) return status;
    if (vin_status status = expect_like("gradient", gradient, VIN_DENSE, weight)) return status;
    if (vin_status status = expect_if_present("clip", clip, VIN_DENSE, 1)) return status;
    const float factor = present(clip) ? f32(clip)[0] : 1.f;
    if (factor != factor) return VIN_OK;
    const float keep1 = (float)args->beta1, take1 = (float)(1 - args->beta1), keep2 = (float)args->beta2,
                take2 = (float)(1 - args->beta2);
    const float keep_weight = (float)(1 - args->learning_rate * args->weight_decay),
                step = (float)(args->learning_rate / args->correction1);
    const float inverse_root = (float)(1 / sqrt(args->correction2)), eps = (float)args->eps;
    parallel_rows(stream, count(weight), 8, [&](int64_t begin, int64_t end) {
        float* __restrict w = f32(weight), * __restrict m = f32(first), * __restrict v = f32(second);
        const float* __restrict dw = f32(gradient);
        for (int64_t i = begin; i < end; i++) {
            const float g = dw[i] * factor;
            m[i] = keep1 * m[i] + take1 * g;
            v[i] = keep2 * v[i] + take2 * (g * g);
            w[i] = keep_weight * w[i] - step * m[i] / (sqrtf(v[i]) * inverse_root + eps);
        }
    });
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
