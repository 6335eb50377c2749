// g = gradient · clip; m = β₁ m + (1 − β₁) g; v = β₂ v + (1 − β₂) g²; w −= lr · (weight_decay · w + (m / correction1) /
// (√(v / correction2) + eps)). Coefficients are computed in fp64, elements in fp32. Where clip is
// NaN nothing changes.
#include "strided.cuh"

using namespace vin::cuda;

struct AdamWFactors {
    float keep1, take1, keep2, take2;  // of the moments
    float keep_weight, step, inverse_root, eps;
};

VIN_KERNEL adamw_kernel(float* weight, float* first, float* second, const float* gradient, const float* clip,
                        AdamWFactors f, i64 elements);

#if VIN_DEVICE
VIN_KERNEL adamw_kernel(float* weight, float* first, float* second, const float* gradient, const float* clip,
                        AdamWFactors f, i64 elements) {
    const float factor = clip ? *clip : 1.f;
    if (factor != factor) return;
    for_each_item(elements, [&](i64 i) {
        const float g = gradient[i] * factor;
        const float m = f.keep1 * first[i] + f.take1 * g, v = f.keep2 * second[i] + f.take2 * (g * g);
        first[i] = m;
        second[i] = v;
        weight[i] = f.keep_weight * weight[i] - f.step * m / (sqrtf(v) * f.inverse_root + f.eps);
    });
}
VIN_EMULATED_KERNEL(adamw_kernel)
#endif

#if VIN_HOST
#include <math.h>

extern "C" vin_status vin_cuda_adamw(vin_stream* stream, const vin_adamw_args* args) {
    const char* const op = "adamw";
    const vin_tensor &weight = args->weight, &first = args->first_moment, &second = args->second_moment,
                     &gradient = args->gradient, &clip = args->clip;
    VIN_CHECK(expect_like(op, "weight", weight, VIN_DTYPE_F32, DENSE, weight));
    VIN_CHECK(expect_like(op, "first_moment", first, VIN_DTYPE_F32, DENSE, weight));
    VIN_CHECK(expect_like(op, "second_moment", second, VIN_DTYPE_F32, DENSE, weight));
    VIN_CHECK(expect_like(op, "gradient", gradient, VIN_DTYPE_F32, DENSE, weight));
    VIN_CHECK(expect_if_present(op, "clip", clip, VIN_DTYPE_F32, DENSE, 1));
    const AdamWFactors f = {(float)args->beta1,
                            (float)(1 - args->beta1),
                            (float)args->beta2,
                            (float)(1 - args->beta2),
                            (float)(1 - args->learning_rate * args->weight_decay),
                            (float)(args->learning_rate / args->correction1),
                            (float)(1 / sqrt(args->correction2)),
                            (float)args->eps};
    return launch_over(count(weight), stream, VIN_KERNEL_OF(adamw_kernel), f32(weight), f32(first), f32(second),
                       f32(gradient), f32(clip), f, count(weight));
}
#endif
