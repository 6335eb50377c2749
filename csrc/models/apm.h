// The appearance preservation module of StreamingT2V on this DiT, methods.md §5: the captions of a later chunk are
// mixed with what the first frame of the video looks like.
#pragma once
#include "transformer.h"

namespace vin {

// anchors [C, B, H, W], one latent frame of each video, → A [B, 16, C]
Tensor anchor_tokens(Ops& ops, const Transformer& model, const Tensor& anchors);
// x_mixed of captions y [B, L, C] and A
Tensor mixed_captions(Ops& ops, const Transformer& model, const Tensor& captions, const Tensor& anchor_tokens);
// What DiT block `block` attends to: y + SiLU(α) · x_mixed
Tensor block_captions(Ops& ops, const Transformer& model, size_t block, const Tensor& captions, const Tensor& mixed);

}  // namespace vin
