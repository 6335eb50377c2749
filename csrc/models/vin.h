// The Video Interface Network, model.md §3.3 and §3.4: the whole noisy video, read into a fixed set of global tokens.
#pragma once
#include "transformer.h"

namespace vin {

// Codes of check_finite: blocks of the DiT count from 0, those of the VIN from here.
static constexpr int vin_block_code = 1 << 16;

struct GlobalTokens {
    Tensor tokens;     // Z [B, G, d], after the processor
    Tensor projected;  // z [B, G, C], what the chunks see
};

// video_tokens [B, N, S, C]; text [B, L, D]; t_vec [B, C]. finite_flag i32 [1] may be absent. memory [B, G, d]: tokens
// of an earlier evaluation, which have no gradient, or absent.
GlobalTokens read_video(Ops& ops, const Transformer& model, const Tensor& video_tokens,
                        const std::vector<int64_t>& keyframes, const Tensor& text, const Tensor& t_vec,
                        const Tensor& finite_flag, const Tensor& memory = {});

// Attention per head of one video, for pictures: encoder [heads, G, keys], one [heads, G + L, G + L] per processor
// block.
struct GlobalAttention {
    Tensor encoder;
    std::vector<Tensor> processor;
};
GlobalAttention global_attention(Ops& ops, const Transformer& model, const Tensor& video_tokens,
                                 const std::vector<int64_t>& keyframes, const Tensor& text, const Tensor& t_vec);

}  // namespace vin
