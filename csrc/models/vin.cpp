#include "vin.h"

#include <cmath>

namespace vin {

// Codes of check_finite: blocks of the DiT count from 0, those of the VIN from here.
static constexpr int vin_block_code = 1 << 16;

static Tensor keyframe_tokens(Ops& ops, const Tensor& video_tokens, const std::vector<int64_t>& keyframes) {
    std::vector<Tensor> frames;
    for (int64_t frame : keyframes) frames.push_back(video_tokens.slice(0, frame, frame + 1));
    return concatenate_rows(ops, frames).rows();   // [keyframes · S, C]
}

// §3.3; `seen` receives the attention weights when somebody wants to look at them.
static Tensor encode(Ops& ops, const Transformer& m, const Tensor& keys, Tensor* seen) {
    const int heads = static_cast<int>(m.config.vin.num_heads);
    const Tensor& Z0 = m.at("vin.global_tokens");                                                    // [G, d]
    const Tensor q = m.linear(ops, layer_norm(ops, Z0), "vin.encoder.q_linear");
    const Tensor kv = m.linear(ops, layer_norm(ops, keys), "vin.encoder.kv_linear");                 // [keys, 2d]
    const Tensor &q_norm = m.at("vin.encoder.q_norm.weight"), &k_norm = m.at("vin.encoder.k_norm.weight");
    if (seen) {
        const int64_t d = m.config.vin.dim, h = d / heads;
        const Tensor q_heads = rms_norm_rope(ops, q.reshape({q.size(0), heads, h}), q_norm, {}, 1e-6f);
        const Tensor k_heads = rms_norm_rope(ops, kv.slice(1, 0, d).reshape({kv.size(0), heads, h}), k_norm, {}, 1e-6f);
        *seen = attention_weights(ops, q_heads, k_heads, static_cast<float>(1 / std::sqrt(static_cast<double>(h))));
    }
    Epilogue plus_Z0;
    plus_Z0.residual = Z0;
    const Tensor Z = m.linear(ops, cross_attention(ops, q, kv, heads, q_norm, k_norm), "vin.encoder.proj", plus_Z0);
    Epilogue plus_Z;
    plus_Z.residual = Z;
    return m.mlp(ops, layer_norm(ops, Z), "vin.encoder.mlp.fc1", "vin.encoder.mlp.fc2", VIN_ACTIVATION_GELU, plus_Z);
}

// §3.4, one block: Y [G + L, d].
static Tensor process(Ops& ops, const Transformer& m, const std::string& prefix, const Tensor& Y, const Tensor& mod, Tensor* seen) {
    const int heads = static_cast<int>(m.config.vin.num_heads);
    const Modulation s = modulation(ops, m.at(prefix + ".scale_shift_table"), mod, {});
    const Tensor qkv = m.linear(ops, layer_norm(ops, Y, s.scale_a, s.shift_a), prefix + ".attn.qkv");
    const Tensor &q_norm = m.at(prefix + ".attn.q_norm.weight"), &k_norm = m.at(prefix + ".attn.k_norm.weight");
    if (seen) {
        const int64_t d = m.config.vin.dim, h = d / heads;
        const auto part = [&](int64_t column, const Tensor& norm) { return rms_norm_rope(ops, qkv.slice(1, column, column + d).reshape({Y.size(0), heads, h}), norm, {}, 1e-6f); };
        *seen = attention_weights(ops, part(0, q_norm), part(d, k_norm), static_cast<float>(1 / std::sqrt(static_cast<double>(h))));
    }
    const Tensor attended = self_attention(ops, qkv, heads, {1, Y.size(0), 0, 1}, q_norm, k_norm, {}, 0);
    const Tensor Y1 = m.linear(ops, attended, prefix + ".attn.proj", {VIN_ACTIVATION_NONE, s.gate_a, {}, Y});
    return m.mlp(ops, layer_norm(ops, Y1, s.scale_m, s.shift_m), prefix + ".mlp.fc1", prefix + ".mlp.fc2", VIN_ACTIVATION_GELU, {VIN_ACTIVATION_NONE, s.gate_m, {}, Y1});
}

GlobalTokens read_video(Ops& ops, const Transformer& m, const Tensor& video_tokens, const std::vector<int64_t>& keyframes, const Tensor& text, const Tensor& t_vec, const Tensor& finite_flag) {
    const Tensor encoded = checkpoint(ops, [&m, video_tokens, keyframes](Ops& ops) { return encode(ops, m, keyframe_tokens(ops, video_tokens, keyframes), nullptr); });
    Tensor Y = concatenate_rows(ops, {encoded, m.linear(ops, text, "vin.text_proj")});               // [Z ; text_proj(text)]
    const Tensor mod = m.linear(ops, silu(ops, t_vec), "vin.t_block.1");                             // [1, 6d]
    for (int64_t b = 0; b < m.config.vin.num_blocks; b++) {
        const std::string prefix = "vin.blocks." + std::to_string(b);
        Y = checkpoint(ops, [&m, prefix, Y, mod](Ops& ops) { return process(ops, m, prefix, Y, mod, nullptr); });
        check_finite(ops, finite_flag, Y, vin_block_code + static_cast<int>(b));
    }
    const Tensor Z = Y.slice(0, 0, m.config.vin.num_global_tokens);
    return {Z, m.linear(ops, layer_norm(ops, Z), "vin.out_proj")};
}

GlobalAttention global_attention(Ops& ops, const Transformer& m, const Tensor& video_tokens, const std::vector<int64_t>& keyframes, const Tensor& text, const Tensor& t_vec) {
    GlobalAttention seen;
    const Tensor Z = encode(ops, m, keyframe_tokens(ops, video_tokens, keyframes), &seen.encoder);
    Tensor Y = concatenate_rows(ops, {Z, m.linear(ops, text, "vin.text_proj")});
    const Tensor mod = m.linear(ops, silu(ops, t_vec), "vin.t_block.1");
    for (int64_t b = 0; b < m.config.vin.num_blocks; b++) {
        seen.processor.emplace_back();
        Y = process(ops, m, "vin.blocks." + std::to_string(b), Y, mod, &seen.processor.back());
    }
    return seen;
}

}  // namespace vin
