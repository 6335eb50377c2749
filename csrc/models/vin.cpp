#include "vin.h"

#include <cmath>

namespace vin {

static Tensor keyframe_tokens(Ops& ops, const Tensor& video_tokens, const std::vector<int64_t>& keyframes) {
    std::vector<Tensor> frames;
    for (int64_t frame : keyframes) frames.push_back(video_tokens.slice(1, frame, frame + 1));
    const Tensor tokens = concatenate(ops, frames, 1);
    return tokens.reshape({tokens.size(0), tokens.size(1) * tokens.size(2), tokens.size(3)});  // [B, keyframes · S, C]
}

// The learned tokens, once for each video: [B, G, d].
static Tensor learned_tokens(Ops& ops, const Transformer& m, int64_t videos) {
    const Tensor& Z0 = m.vin.global_tokens;  // [G, d]
    const Tensor one = Z0.reshape({1, Z0.size(0), Z0.size(1)});
    return videos == 1 ? one : concatenate(ops, std::vector<Tensor>(static_cast<size_t>(videos), one));
}

// The latent self-conditioning of RIN (arXiv 2212.11972; methods.md §6):
// Z0 + γ · LN(M) + β, M = memory + fc2(gelu(fc1(LN(memory)))), γ and β 0 at the start.
static Tensor remembering_tokens(Ops& ops, const Transformer& m, const Tensor& memory) {
    const Tensor Z0 = learned_tokens(ops, m, memory.size(0));
    const Layer& norm = m.vin.memory.norm;
    const int64_t d = m.config.vin.dim;
    Epilogue plus_memory;
    plus_memory.residual = memory;
    const Tensor M = mlp(ops, layer_norm(ops, memory), m.vin.memory.mlp, VIN_ACTIVATION_GELU, plus_memory);
    return add(ops, gated_residual(ops, layer_norm(ops, M), norm.weight.reshape({1, d}), {}, Z0),
               norm.bias.reshape({1, 1, d}));
}

// §3.3; `seen` receives the attention weights of one video when somebody wants to look at them.
static Tensor encode(Ops& ops, const Transformer& m, const Tensor& keys, const Tensor& memory, Tensor* seen) {
    const int heads = static_cast<int>(m.config.vin.num_heads);
    const Tensor Z0 = memory ? remembering_tokens(ops, m, memory) : learned_tokens(ops, m, keys.size(0));
    const Tensor q = linear(ops, layer_norm(ops, Z0), m.vin.encoder.attn.q_linear);
    const Tensor kv = linear(ops, layer_norm(ops, keys), m.vin.encoder.attn.kv_linear);  // [B, keys, 2d]
    const Tensor &q_norm = m.vin.encoder.q_norm, &k_norm = m.vin.encoder.k_norm;
    if (seen) {
        const int64_t d = m.config.vin.dim, h = d / heads;
        const Tensor q_heads = rms_norm_rope(ops, q.reshape({q.size(1), heads, h}), q_norm, {}, 1e-6f);
        const Tensor k_heads =
            rms_norm_rope(ops, kv.rows().slice(1, 0, d).reshape({kv.size(1), heads, h}), k_norm, {}, 1e-6f);
        *seen = attention_weights(ops, q_heads, k_heads, static_cast<float>(1 / std::sqrt(static_cast<double>(h))));
    }
    Epilogue plus_Z0;
    plus_Z0.residual = Z0;
    const Tensor Z = linear(ops, cross_attention(ops, q, kv, heads, q_norm, k_norm), m.vin.encoder.attn.proj, plus_Z0);
    Epilogue plus_Z;
    plus_Z.residual = Z;
    return mlp(ops, layer_norm(ops, Z), m.vin.encoder.mlp, VIN_ACTIVATION_GELU, plus_Z);
}

// The modulation of each row is that of its video; of one video there is one.
static Tensor video_of_rows(Ops& ops, const Tensor& Y) {
    if (Y.size(0) == 1) return {};
    std::vector<int32_t> groups;
    for (int64_t row = 0; row < Y.size(0) * Y.size(1); row++) groups.push_back(static_cast<int32_t>(row / Y.size(1)));
    return constant(ops, groups, {Y.size(0) * Y.size(1)});
}

// §3.4, one block: Y [B, G + L, d].
static Tensor process(Ops& ops, const Transformer& m, const TransformerBlock& block, const Tensor& Y, const Tensor& mod,
                      const Tensor& group, Tensor* seen) {
    const int heads = static_cast<int>(m.config.vin.num_heads);
    const int64_t rows = Y.size(1);
    const Modulation s = modulation(ops, block.scale_shift_table, mod, group);
    const Tensor qkv = linear(ops, layer_norm(ops, Y, s.scale_a, s.shift_a, group), block.attn.qkv);
    const Tensor &q_norm = block.attn.q_norm, &k_norm = block.attn.k_norm;
    if (seen) {
        const int64_t d = m.config.vin.dim, h = d / heads;
        const auto part = [&](int64_t column, const Tensor& norm) {
            return rms_norm_rope(ops, qkv.rows().slice(1, column, column + d).reshape({rows, heads, h}), norm, {},
                                 1e-6f);
        };
        *seen = attention_weights(ops, part(0, q_norm), part(d, k_norm),
                                  static_cast<float>(1 / std::sqrt(static_cast<double>(h))));
    }
    const Tensor attended = self_attention(ops, qkv, heads, {Y.size(0), rows, rows, 1}, q_norm, k_norm, {}, 0);
    const Tensor Y1 = linear(ops, attended, block.attn.proj, {VIN_ACTIVATION_NONE, s.gate_a, group, Y});
    return mlp(ops, layer_norm(ops, Y1, s.scale_m, s.shift_m, group), block.mlp, VIN_ACTIVATION_GELU,
               {VIN_ACTIVATION_NONE, s.gate_m, group, Y1});
}

GlobalTokens read_video(Ops& ops, const Transformer& m, const Tensor& video_tokens,
                        const std::vector<int64_t>& keyframes, const Tensor& text, const Tensor& t_vec,
                        const Tensor& finite_flag, const Tensor& memory) {
    const Tensor encoded = checkpoint(ops, [&m, video_tokens, keyframes, memory](Ops& ops) {
        return encode(ops, m, keyframe_tokens(ops, video_tokens, keyframes), memory, nullptr);
    });
    Tensor Y = concatenate(ops, {encoded, linear(ops, text, m.vin.text_proj)}, 1);  // [Z ; text_proj(text)]
    const Tensor mod = linear(ops, silu(ops, t_vec), m.vin.t_block), group = video_of_rows(ops, Y);  // mod [B, 6d]
    for (size_t b = 0; b < m.vin.blocks.size(); b++) {
        Y = checkpoint(
            ops, [&m, b, Y, mod, group](Ops& ops) { return process(ops, m, m.vin.blocks[b], Y, mod, group, nullptr); });
        check_finite(ops, finite_flag, Y, vin_block_code + static_cast<int>(b));
    }
    const Tensor Z = contiguous(ops, Y.slice(1, 0, m.config.vin.num_global_tokens));
    return {Z, linear(ops, layer_norm(ops, Z), m.vin.out_proj)};
}

GlobalAttention global_attention(Ops& ops, const Transformer& m, const Tensor& video_tokens,
                                 const std::vector<int64_t>& keyframes, const Tensor& text, const Tensor& t_vec) {
    GlobalAttention seen;
    const Tensor Z = encode(ops, m, keyframe_tokens(ops, video_tokens, keyframes), {}, &seen.encoder);
    Tensor Y = concatenate(ops, {Z, linear(ops, text, m.vin.text_proj)}, 1);
    const Tensor mod = linear(ops, silu(ops, t_vec), m.vin.t_block);
    for (const TransformerBlock& block : m.vin.blocks) {
        seen.processor.emplace_back();
        Y = process(ops, m, block, Y, mod, {}, &seen.processor.back());
    }
    return seen;
}

}  // namespace vin
