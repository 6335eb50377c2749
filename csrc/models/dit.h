// The diffusion transformer of model.md §3.5: one chunk of latent frames, guided by captions and global tokens.
#pragma once
#include "frame_attention.h"

namespace vin {

struct Range {
    int64_t begin, end;
};

// What all chunks of one evaluation share; of one video (B = 1), or of a batch of equal shape that trains together.
struct DitInputs {
    Tensor video_tokens;   // [B, N, S, C], §3.2
    Tensor t_vec;          // [levels · B, C]: of t, and of the other times that frames have
    Tensor mod;            // t_block.1(SiLU(t_vec)) [levels · B, 6C]
    Tensor captions;       // y_proj(text) [B, L, C]
    Tensor global_tokens;  // z [B, G, C] or absent
    Tensor vin_tokens;     // Z [B, G, d], of which that is the projection, or absent
    // Times that a video's rows have: t of the global tokens, then those of frames that have another (with a frame mask
    // the second is 0, of conditioning frames); and which of them each frame has [B · N].
    int32_t levels = 1;
    std::vector<int32_t> frame_level;
    // Per block, keys and values of all captions, then (not in "full") of the global tokens: [B, L + G, 2C]. Empty:
    // each chunk makes those of `captions` and `global_tokens` itself.
    std::vector<Tensor> keys_and_values;
    Range caption_rows = {0, 0};  // which of those captions a chunk reads
    FrameAttention attention;     // how self-attention over frames sees a chunk without context, of one video
    // streaming-t2v (methods.md §5). CAM reads the frames before a chunk from `latents` [C, B · N, H, W], in a video of
    // height × width pixels; absent: no CAM. APM's A [B, 16, C]; absent: no APM.
    Tensor latents, anchor_tokens;
    double height = 0, width = 0;
};

// What the blocks add to the video rows of a chunk: kept from one evaluation, added again by later ones (methods.md
// §9).
struct Residual {
    Tensor rows;          // [F · S, C] of one video; absent: it is not kept
    bool reused = false;  // the blocks are left out
};

// [rows, …] as a batch of one: [1, rows, …]
inline Tensor one_of_batch(const Tensor& x) {
    Shape shape = x.shape();
    shape.insert(shape.begin(), 1);
    return x.reshape(shape);
}

// Latent frames [first, end), owned from `start` on.
struct Chunk {
    int64_t first, start, end;
};

Tensor captions(Ops& ops, const Transformer& model, const Tensor& text);  // text [B, L, D] → [B, L, C]
// DitInputs::keys_and_values. They live as long as the evaluation: 4 · blocks · (L + G) · 2C bytes a branch, 75 MiB for
// 28 blocks, width 1152 and 300 captions.
std::vector<Tensor> keys_and_values(Ops& ops, const Transformer& model, const DitInputs& inputs);
// [timesteps, C]; one fps for all of them, or one for each
Tensor time_vector(Ops& ops, const Transformer& model, const std::vector<float>& timesteps,
                   const std::vector<float>& fps);
// §3.2; latents [C, B · N, H, W], one video behind the other, → [B, N, S, C]. Height and width in pixels.
Tensor video_tokens(Ops& ops, const Transformer& model, const Tensor& latents, int64_t videos, double height,
                    double width);

// x_embedder's patches with 2D position and time code: frames from `first` on, of videos of N frames; latents
// [C, B · T, H, W] → [B, T, S, C].
Tensor patch_tokens(Ops& ops, const Transformer& model, const Layer& x_embedder, const Tensor& latents, int64_t videos,
                    int64_t first, int64_t N, double height, double width);

// How one self-attention sees the rows of the chunk.
struct SelfAttention {
    Sequences sequences;
    Rotary rotary;
    int64_t key_grad_from = 0;  // stop-gradient: keys of context rows
    const PlannedFrameAttention* frames = nullptr;
};
// That of block i, of the three which a layout has.
inline const SelfAttention& self_attention_of(const Transformer& model, size_t i, const SelfAttention& spatial,
                                              const SelfAttention& temporal, const SelfAttention& everything) {
    if (model.config.layout == Layout::full) return everything;
    return i % 2 == 0 ? spatial : model.config.layout == Layout::factorised ? temporal : everything;
}
// One block over h [B, R, C]; modulated by the groups of in.mod. shared_kv: the keys and values of caption_rows, or
// absent.
Tensor transformer_block(Ops& ops, const Transformer& model, const TransformerBlock& block, const Tensor& h,
                         const DitInputs& inputs, const Tensor& group, const SelfAttention& shape,
                         const Tensor& caption_rows, const Tensor& shared_kv);

// Prediction for all frames of the chunk: [out, B · (end − first), H, W], out = the first `channels` output channels.
// `raw` repeats STDiT3's treatment of conditioning frames in the final layer (opensora.md §1.8), of one video.
Tensor denoise_chunk(Ops& ops, const Transformer& model, const DitInputs& inputs, const Chunk& chunk, int64_t channels,
                     int64_t height, int64_t width, bool raw, const Tensor& finite_flag, const Residual& residual = {});

// The modulated input of the first block, of all frames of one video: [N · S, C].
Tensor first_input(Ops& ops, const Transformer& model, const DitInputs& inputs);

}  // namespace vin
