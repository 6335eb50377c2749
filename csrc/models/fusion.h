// How the predictions of two chunks share the frames that both have, model.md §3.6.
#pragma once
#include "transformer.h"

namespace vin {

// The later chunk's weight at frame k of an overlap of F. linear: k / F. raised_cosine: ½ (1 − cos(π k / F)), the Hann
// window's rise (Harris, "On the use of windows for harmonic analysis with the discrete Fourier transform", 1978).
enum class FusionWeights { linear, raised_cosine };

// y[:, k] = earlier[:, k] + weight[k] · (later[:, k] − earlier[:, k]), all [C, F, H, W].
void fuse_overlap(Ops& ops, FusionWeights weights, const Tensor& y, const Tensor& earlier, const Tensor& later);

}  // namespace vin
