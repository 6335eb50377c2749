// The diffusion transformer of model.md §3.5: one chunk of latent frames, guided by captions and global tokens.
#pragma once
#include "transformer.h"

namespace vin {

// What all chunks of one evaluation share.
struct DitInputs {
    Tensor video_tokens;                     // [N, S, C], §3.2
    Tensor t_vec;                            // [1, C], or [2, C] with a frame mask: of t and of 0
    Tensor mod;                              // t_block.1(SiLU(t_vec)) [1 or 2, 6C]
    Tensor captions;                         // y_proj(text) [L, C]
    Tensor global_tokens;                    // z [G, C] or absent
    std::vector<uint8_t> frame_mask;         // [N], 1 = denoised; empty: all
};

// Latent frames [first, end), owned from `start` on.
struct Chunk {
    int64_t first, start, end;
};

Tensor captions(Ops& ops, const Transformer& model, const Tensor& text);              // text [L, D] → [L, C]
Tensor time_vector(Ops& ops, const Transformer& model, const std::vector<float>& timesteps, double fps);   // [timesteps, C]
// §3.2; latents [C, N, H, W] → [N, S, C]. Height and width in pixels.
Tensor video_tokens(Ops& ops, const Transformer& model, const Tensor& latents, double height, double width);

// Prediction for all frames of the chunk: [out, end − first, H, W], out = the first `channels` output channels.
// `raw` repeats STDiT3's treatment of conditioning frames in the final layer (opensora.md §1.8).
Tensor denoise_chunk(Ops& ops, const Transformer& model, const DitInputs& inputs, const Chunk& chunk, int64_t channels, int64_t height, int64_t width, bool raw, const Tensor& finite_flag);

}  // namespace vin
