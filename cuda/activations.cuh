// Activations of linear and of the elementwise ops.
#pragma once
#include "device.cuh"

namespace vin {
namespace cuda {

enum { NO_ACTIVATION, GELU, SILU };  // VIN_ACTIVATION_… of csrc/backend.h
#if VIN_HOST
static_assert((int)NO_ACTIVATION == VIN_ACTIVATION_NONE && (int)GELU == VIN_ACTIVATION_GELU &&
                  (int)SILU == VIN_ACTIVATION_SILU,
              "the activations of csrc/backend.h");
#endif

#if VIN_DEVICE
VIN_DEVICE_FUNCTION float sigmoid(float x) {
    const float e = expf(x < 0 ? x : -x);  // exp(−|x|)
    const float s = 1.f / (1.f + e);
    return x < 0 ? e * s : s;
}
VIN_DEVICE_FUNCTION float silu_of(float x) { return x * sigmoid(x); }
// ½ x (1 + tanh(√(2/π)(x + 0.044715 x³))) = x / (1 + exp(−2 √(2/π)(x + 0.044715 x³)))
VIN_DEVICE_FUNCTION float gelu_of(float x) { return x / (1.f + expf(-1.5957691216f * (x + 0.044715f * x * x * x))); }
// The derivatives. d silu / dx = s (1 + x (1 − s)), s = sigmoid(x); with u = 2 √(2/π)(x + 0.044715 x³) and s =
// sigmoid(u), gelu = x s and d gelu / dx = s + x s (1 − s) u'.
VIN_DEVICE_FUNCTION float silu_slope(float x) {
    const float s = sigmoid(x);
    return s * (1.f + x * (1.f - s));
}
VIN_DEVICE_FUNCTION float gelu_slope(float x) {
    const float cubic = 0.044715f * x * x, s = sigmoid(1.5957691216f * (x + cubic * x));
    return s + x * s * (1.f - s) * (1.5957691216f * (1.f + 3.f * cubic));
}
VIN_DEVICE_FUNCTION float activate(int activation, float x) {
    return activation == GELU ? gelu_of(x) : activation == SILU ? silu_of(x) : x;
}
#endif

}  // namespace cuda
}  // namespace vin
