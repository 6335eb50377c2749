// What losses of prediction − target share: both strided, with a weight for each index of one axis.
#pragma once
#include "scalar_sum.cuh"

namespace vin {
namespace cuda {

#if VIN_DEVICE
VIN_DEVICE_FUNCTION double difference_of(float prediction, float target) { return (double)prediction - (double)target; }
// weight NULL: 1.
VIN_DEVICE_FUNCTION double weight_of(const float* weight, i64 offset) { return weight ? (double)weight[offset] : 1; }
#endif

#if VIN_HOST
// Elements of `order` (the gradient; for a sum dense_like(prediction), so that its order follows from the shape alone),
// of prediction, target and weight, which is [shape[axis]] or absent.
inline Walk<4> walk_differences(const vin_tensor& order, const vin_tensor& prediction, const vin_tensor& target,
                                const vin_tensor& weight, int axis) {
    vin_tensor weights = prediction;
    for (int i = 0; i < weights.rank; i++) weights.stride[i] = i == axis && present(weight) ? 1 : 0;
    return walk<4>({&order, &prediction, &target, &weights});
}
#endif

}  // namespace cuda
}  // namespace vin
