// How the predictions of two chunks share the frames that both have, model.md §3.6.
#pragma once
#include "transformer.h"

namespace vin {

// The later chunk's weight at frame k of an overlap of F. linear: k / F. raised_cosine: ½ (1 − cos(π k / F)), the Hann
// window's rise (Harris, "On the use of windows for harmonic analysis with the discrete Fourier transform", 1978).
// learned: k / F + o_c(k / F), of each channel c its own, as forecasts are combined by weights that least squares finds
// (Granger and Ramanathan, "Improved methods of combining forecasts", 1984); o_c is 0 at both ends, fusion.offsets at
// the places between and linear from place to place.
enum class FusionWeights { linear, raised_cosine, learned };

// y[:, k] = earlier[:, k] + weight[k] · (later[:, k] − earlier[:, k]), all [C, F, H, W].
void fuse_overlap(Ops& ops, const Transformer& model, FusionWeights weights, const Tensor& y, const Tensor& earlier,
                  const Tensor& later);

// The squared error of an overlap that is blended with learned weights, as squared_error() has it. It has no gradient
// but that of fusion.offsets: the predictions learn what they are, not what becomes of them.
void fusion_loss(Ops& ops, const Transformer& model, const Tensor& loss, const Tensor& earlier, const Tensor& later,
                 const Tensor& target, const Tensor& frame_weight, double scale, double gradient_scale);

}  // namespace vin
