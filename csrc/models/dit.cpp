#include "dit.h"

#include <algorithm>
#include <cmath>

namespace vin {

Tensor captions(Ops& ops, const Transformer& m, const Tensor& text) { return m.mlp(ops, text, "y_embedder.y_proj.fc1", "y_embedder.y_proj.fc2", VIN_ACTIVATION_GELU); }

// §3.1
Tensor time_vector(Ops& ops, const Transformer& m, const std::vector<float>& timesteps, double fps) {
    const auto embed = [&](const std::vector<float>& values, const std::string& name) {
        const Tensor x = sinusoid(ops, constant(ops, values, {static_cast<int64_t>(values.size())}), 256);
        return m.mlp(ops, x, name + ".mlp.0", name + ".mlp.2", VIN_ACTIVATION_SILU);
    };
    return add(ops, embed(timesteps, "t_embedder"), embed({static_cast<float>(fps)}, "fps_embedder"));
}

// §3.2: patch embedding + 2D position + time code.
Tensor video_tokens(Ops& ops, const Transformer& m, const Tensor& latents, double height, double width) {
    const int64_t N = latents.size(1), rows = (latents.size(2) + 1) / 2, columns = (latents.size(3) + 1) / 2, S = rows * columns, C = m.config.hidden_size;
    const double scale = std::sqrt(height * width) / m.config.input_sq_size;
    const int64_t base_size = static_cast<int64_t>(std::nearbyint(std::sqrt(static_cast<double>(S))));   // half to even
    Tensor tokens = m.linear(ops, patchify(ops, latents), "x_embedder.proj");                          // [N, S, C]
    tokens = add(ops, tokens, position_embedding_2d(ops, rows, columns, C, scale, base_size).reshape({1, S, C}));
    if (m.weights.has("time_embedder.weight")) {
        std::vector<float> positions;
        const double s = std::min(1.0, m.config.max_latent_frames / static_cast<double>(N));
        for (int64_t n = 0; n < N; n++) positions.push_back(static_cast<float>(static_cast<double>(n) * s));
        tokens = add(ops, tokens, m.linear(ops, sinusoid(ops, constant(ops, positions, {N}), 256), "time_embedder").reshape({N, 1, C}));
    }
    return tokens;
}

// How one self-attention sees the rows of the chunk.
struct SelfAttention {
    Sequences sequences;
    Rotary rotary;
    int64_t key_grad_from;                   // stop-gradient: keys of context rows
};

static Tensor block(Ops& ops, const Transformer& m, const std::string& prefix, const Tensor& h0, const DitInputs& in, const Tensor& group, const SelfAttention& shape, const Tensor& caption_rows) {
    const int heads = static_cast<int>(m.config.num_heads);
    const Modulation s = modulation(ops, m.at(prefix + ".scale_shift_table"), in.mod, group);
    // h += gate_a · attn(LN(h)(1 + scale_a) + shift_a)
    const Tensor qkv = m.linear(ops, layer_norm(ops, h0, s.scale_a, s.shift_a, group), prefix + ".attn.qkv");
    const Tensor attended = self_attention(ops, qkv, heads, shape.sequences, m.weights.find(prefix + ".attn.q_norm.weight"), m.weights.find(prefix + ".attn.k_norm.weight"), shape.rotary, shape.key_grad_from);
    const Tensor h1 = m.linear(ops, attended, prefix + ".attn.proj", {VIN_ACTIVATION_NONE, s.gate_a, group, h0});
    // h += cross_attn(h; captions)
    const Tensor q = m.linear(ops, h1, prefix + ".cross_attn.q_linear"), kv = m.linear(ops, caption_rows, prefix + ".cross_attn.kv_linear");
    const Tensor h2 = m.linear(ops, cross_attention(ops, q, kv, heads, {}, {}), prefix + ".cross_attn.proj", {VIN_ACTIVATION_NONE, {}, {}, h1});
    // h += gate_m · mlp(LN(h)(1 + scale_m) + shift_m)
    return m.mlp(ops, layer_norm(ops, h2, s.scale_m, s.shift_m, group), prefix + ".mlp.fc1", prefix + ".mlp.fc2", VIN_ACTIVATION_GELU, {VIN_ACTIVATION_NONE, s.gate_m, group, h2});
}

Tensor denoise_chunk(Ops& ops, const Transformer& m, const DitInputs& in, const Chunk& chunk, int64_t channels, int64_t height, int64_t width, bool raw, const Tensor& finite_flag) {
    const int64_t F = chunk.end - chunk.first, S = in.video_tokens.size(1), C = m.config.hidden_size, context = chunk.start - chunk.first;
    const bool full = m.config.layout == Layout::full, masked = !in.frame_mask.empty();

    // Rows: video tokens of the chunk, then (full) the global tokens.
    Tensor h = in.video_tokens.slice(0, chunk.first, chunk.end).reshape({F * S, C});
    Tensor caption_rows = in.captions;
    if (in.global_tokens && full) h = concatenate_rows(ops, {h, in.global_tokens});
    if (in.global_tokens && !full) caption_rows = concatenate_rows(ops, {in.captions, in.global_tokens});
    const int64_t R = h.size(0);

    // Conditioning frames take the modulation of t = 0 (group 1); global rows keep t.
    Tensor group;
    if (masked) {
        std::vector<int32_t> groups(static_cast<size_t>(R), 0);
        for (int64_t f = 0; f < F; f++)
            if (!in.frame_mask[static_cast<size_t>(chunk.first + f)]) std::fill_n(groups.begin() + f * S, S, 1);
        group = constant(ops, groups, {R});
    }

    // Rotary positions: frame minus first owned frame.
    std::vector<float> positions;
    for (int64_t f = 0; f < F; f++) positions.push_back(static_cast<float>(f - context));
    const Rotary rotary{rope_table(ops, constant(ops, positions, {F}), m.at("rope.freqs")), static_cast<int>(S)};
    const SelfAttention spatial{{F, S, S, 1}, {}, 0};
    const SelfAttention temporal{{S, F, 1, S}, rotary, context};
    const SelfAttention everything{{1, R, 0, 1}, rotary, context * S};

    const auto run = [&](const std::string& prefix, const SelfAttention& shape, int index) {
        h = checkpoint(ops, [&m, prefix, h, &in, group, shape, caption_rows](Ops& ops) { return block(ops, m, prefix, h, in, group, shape, caption_rows); });
        check_finite(ops, finite_flag, h, index);
    };
    for (int i = 0; i < m.config.depth; i++) {
        if (full) {
            run("blocks." + std::to_string(i), everything, i);
        } else {
            run("spatial_blocks." + std::to_string(i), spatial, 2 * i);
            run("temporal_blocks." + std::to_string(i), m.config.layout == Layout::hybrid ? everything : temporal, 2 * i + 1);
        }
    }

    // Final layer: global rows are dropped; shift and scale = table + t_vec.
    const Tensor video_rows = h.slice(0, 0, F * S);
    const Tensor table = add(ops, m.at("final_layer.scale_shift_table").reshape({1, 2, C}), in.t_vec.reshape({in.t_vec.size(0), 1, C})).reshape({in.t_vec.size(0), 2 * C});
    const Tensor shift = table.slice(1, 0, C), scale = table.slice(1, C, 2 * C);
    Tensor u;
    if (masked && raw) {
        u = layer_norm(ops, video_rows, scale.slice(0, 0, 1), shift.slice(0, 0, 1));
        const Tensor again = layer_norm(ops, u, scale.slice(0, 1, 2), shift.slice(0, 1, 2));
        for (int64_t f = 0; f < F; f++)
            if (!in.frame_mask[static_cast<size_t>(chunk.first + f)]) copy_into(ops, u.slice(0, f * S, (f + 1) * S), again.slice(0, f * S, (f + 1) * S));
    } else {
        u = layer_norm(ops, video_rows, scale, shift, group ? group.slice(0, 0, F * S) : group);
    }
    return unpatchify(ops, m.linear(ops, u, "final_layer.linear").reshape({F, S, 4 * m.config.out_channels()}), {channels, F, height, width});
}

}  // namespace vin
