#include "fusion.h"

#include <algorithm>
#include <cmath>

namespace vin {

// [C, F, 1, 1]
static Tensor learned_offsets(Ops& ops, const Transformer& m, int64_t F) {
    std::vector<float> shares;  // [F, places]: of each place in frame k
    for (int64_t k = 0; k < F; k++)
        for (int64_t place = 1; place <= fusion_places; place++) {
            const double at = static_cast<double>(k * (fusion_places + 1)) / static_cast<double>(F);
            shares.push_back(static_cast<float>(std::max(0.0, 1 - std::abs(at - static_cast<double>(place)))));
        }
    return linear(ops, m.fusion_offsets, constant(ops, shares, {F, fusion_places}), {})
        .reshape({m.fusion_offsets.size(0), F, 1, 1});
}

// [1, F, 1, 1]
static Tensor raised_cosine_offsets(Ops& ops, int64_t F) {
    const double pi = 3.14159265358979323846;
    std::vector<float> offsets;
    for (int64_t k = 0; k < F; k++) {
        const double share = static_cast<double>(k) / static_cast<double>(F);
        offsets.push_back(static_cast<float>((1 - std::cos(pi * share)) / 2 - share));
    }
    return constant(ops, offsets, {1, F, 1, 1});
}

// The linear blend into y; returns later − earlier.
static Tensor blend_linearly(Ops& ops, const Tensor& y, const Tensor& earlier, const Tensor& later) {
    call(ops, vin_fusion_blend_args{y.view(), earlier.view(), later.view()});
    const Tensor difference = ops.empty(y.shape());
    combine_into(ops, difference, 1, later, -1, earlier);
    return difference;
}

// The linear blend, then what the weights are beside it times the difference: equal predictions come back unchanged.
void fuse_overlap(Ops& ops, const Transformer& m, FusionWeights weights, const Tensor& y, const Tensor& earlier,
                  const Tensor& later) {
    if (weights == FusionWeights::linear)
        return call(ops, vin_fusion_blend_args{y.view(), earlier.view(), later.view()});
    const Tensor difference = blend_linearly(ops, y, earlier, later);
    const Tensor offsets =
        weights == FusionWeights::learned ? learned_offsets(ops, m, y.size(1)) : raised_cosine_offsets(ops, y.size(1));
    add_into(ops, y, y, multiply(ops, difference, offsets));
}

void fusion_loss(Ops& ops, const Transformer& m, const Tensor& loss, const Tensor& earlier, const Tensor& later,
                 const Tensor& target, const Tensor& frame_weight, double scale, double gradient_scale) {
    const Tensor blend = ops.empty(earlier.shape()), difference = blend_linearly(ops, blend, earlier, later);
    const Tensor fused = add(ops, blend, multiply(ops, difference, learned_offsets(ops, m, blend.size(1))));
    squared_error(ops, loss, fused, target, frame_weight, scale, gradient_scale);
}

}  // namespace vin
