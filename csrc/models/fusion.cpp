#include "fusion.h"

#include <cmath>

namespace vin {

// What the weights of the later chunk are beside the linear ones, [1, F, 1, 1]; absent: nothing.
static Tensor beside_linear(Ops& ops, FusionWeights weights, int64_t F) {
    if (weights == FusionWeights::linear) return {};
    const double pi = 3.14159265358979323846;
    std::vector<float> offsets;
    for (int64_t k = 0; k < F; k++) {
        const double share = static_cast<double>(k) / static_cast<double>(F);
        offsets.push_back(static_cast<float>((1 - std::cos(pi * share)) / 2 - share));
    }
    return constant(ops, offsets, {1, F, 1, 1});
}

// The linear blend, then what the weights are beside it times the difference: equal predictions come back unchanged.
void fuse_overlap(Ops& ops, FusionWeights weights, const Tensor& y, const Tensor& earlier, const Tensor& later) {
    call(ops, vin_fusion_blend_args{y.view(), earlier.view(), later.view()});
    const Tensor offsets = beside_linear(ops, weights, y.size(1));
    if (!offsets) return;
    const Tensor difference = ops.empty(y.shape());
    combine_into(ops, difference, 1, later, -1, earlier);
    add_into(ops, y, y, multiply(ops, difference, offsets));
}

}  // namespace vin
