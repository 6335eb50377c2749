#include "dit.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "apm.h"
#include "cam.h"

namespace vin {

Tensor captions(Ops& ops, const Transformer& m, const Tensor& text) {
    return mlp(ops, text, m.y_proj, VIN_ACTIVATION_GELU);
}

// §3.1
Tensor time_vector(Ops& ops, const Transformer& m, const std::vector<float>& timesteps, const std::vector<float>& fps) {
    const auto embed = [&](const std::vector<float>& values, const MlpWeights& embedder) {
        const Tensor x = sinusoid(ops, constant(ops, values, {static_cast<int64_t>(values.size())}), 256);
        return mlp(ops, x, embedder, VIN_ACTIVATION_SILU);
    };
    return add(ops, embed(timesteps, m.t_embedder), embed(fps, m.fps_embedder));
}

// §3.2: patch embedding + 2D position + time code.
Tensor patch_tokens(Ops& ops, const Transformer& m, const Layer& x_embedder, const Tensor& latents, int64_t videos,
                    int64_t first, int64_t N, double height, double width) {
    const int64_t T = latents.size(1) / videos, rows = (latents.size(2) + 1) / 2, columns = (latents.size(3) + 1) / 2,
                  S = rows * columns, C = m.config.hidden_size;
    const double scale = std::sqrt(height * width) / m.config.input_sq_size;
    const int64_t base_size = static_cast<int64_t>(std::nearbyint(std::sqrt(static_cast<double>(S))));  // half to even
    Tensor tokens = linear(ops, patchify(ops, latents), x_embedder);                                    // [B · T, S, C]
    tokens = add(ops, tokens, position_embedding_2d(ops, rows, columns, C, scale, base_size).reshape({1, S, C}))
                 .reshape({videos, T, S, C});
    if (m.time_embedder) {
        std::vector<float> positions;
        const double s = std::min(1.0, m.config.max_latent_frames / static_cast<double>(N));
        for (int64_t n = first; n < first + T; n++) positions.push_back(static_cast<float>(static_cast<double>(n) * s));
        tokens =
            add(ops, tokens,
                linear(ops, sinusoid(ops, constant(ops, positions, {T}), 256), m.time_embedder).reshape({1, T, 1, C}));
    }
    return tokens;
}

Tensor video_tokens(Ops& ops, const Transformer& m, const Tensor& latents, int64_t videos, double height,
                    double width) {
    return patch_tokens(ops, m, m.x_embedder, latents, videos, 0, latents.size(1) / videos, height, width);
}

// What every cross-attention reads: captions, and the global tokens unless they are rows of the sequence.
static Tensor attended_rows(Ops& ops, const Transformer& m, const DitInputs& in) {
    if (!in.global_tokens || m.config.layout == Layout::full) return in.captions;
    return concatenate(ops, {in.captions, in.global_tokens}, 1);
}

std::vector<Tensor> keys_and_values(Ops& ops, const Transformer& m, const DitInputs& in) {
    const Tensor rows = attended_rows(ops, m, in);
    std::vector<Tensor> kv;
    for (const TransformerBlock& block : m.blocks) kv.push_back(linear(ops, rows, block.cross_attn.kv_linear));
    return kv;
}

// Of the keys and values of a block, those that a chunk reads; the last G rows are global tokens.
static Tensor of_chunk(Ops& ops, const Tensor& kv, const Range& captions, int64_t G) {
    const int64_t rows = kv.size(1), L = rows - G;
    if (captions.begin == 0 && captions.end == L) return kv;
    const Tensor own = kv.slice(1, captions.begin, captions.end);
    return G ? concatenate(ops, {own, kv.slice(1, L, rows)}, 1) : own;
}

Tensor transformer_block(Ops& ops, const Transformer& m, const TransformerBlock& block, const Tensor& h0,
                         const DitInputs& in, const Tensor& group, const SelfAttention& shape,
                         const Tensor& caption_rows, const Tensor& shared_kv) {
    const int heads = static_cast<int>(m.config.num_heads);
    const Modulation s = modulation(ops, block.scale_shift_table, in.mod, group);
    // h += gate_a · attn(LN(h)(1 + scale_a) + shift_a)
    const Tensor qkv = linear(ops, layer_norm(ops, h0, s.scale_a, s.shift_a, group), block.attn.qkv);
    const Sequences& sequences = shape.sequences;
    const Tensor attended = shape.frames
                                ? frame_attention(ops, *shape.frames, qkv.rows(), heads, block.attn, shape.rotary,
                                                  in.video_tokens.size(1), sequences.row_stride > 1)
                                      .reshape(h0.shape())
                                : self_attention(ops, qkv, heads, sequences, block.attn.q_norm, block.attn.k_norm,
                                                 shape.rotary, shape.key_grad_from);
    const Tensor h1 = linear(ops, attended, block.attn.proj, {VIN_ACTIVATION_NONE, s.gate_a, group, h0});
    // h += cross_attn(h; captions)
    const Tensor q = linear(ops, h1, block.cross_attn.q_linear),
                 kv = shared_kv ? shared_kv : linear(ops, caption_rows, block.cross_attn.kv_linear);
    const Tensor h2 = linear(ops, cross_attention(ops, q, kv, heads, {}, {}), block.cross_attn.proj,
                             {VIN_ACTIVATION_NONE, {}, {}, h1});
    // h += gate_m · mlp(LN(h)(1 + scale_m) + shift_m)
    return mlp(ops, layer_norm(ops, h2, s.scale_m, s.shift_m, group), block.mlp, VIN_ACTIVATION_GELU,
               {VIN_ACTIVATION_NONE, s.gate_m, group, h2});
}

// Lines of modulation for R rows of each video, of which those of the frames from `first` on come first: that of the
// row's video and of its frame's time; global rows take the first, that of t. Absent: one line for all.
static Tensor row_groups(Ops& ops, const DitInputs& in, int64_t first, int64_t frames, int64_t R) {
    const int64_t B = in.video_tokens.size(0), S = in.video_tokens.size(2);
    if (in.levels == 1 && B == 1) return {};
    std::vector<int32_t> groups(static_cast<size_t>(B * R));
    for (int64_t row = 0; row < B * R; row++) {
        const int64_t video = row / R, f = row % R / S;
        const size_t frame = static_cast<size_t>(video * in.video_tokens.size(1) + first + f);
        groups[static_cast<size_t>(row)] =
            static_cast<int32_t>(video) * in.levels + (f < frames ? in.frame_level[frame] : 0);
    }
    return constant(ops, groups, {B * R});
}

Tensor first_input(Ops& ops, const Transformer& m, const DitInputs& in) {
    const int64_t N = in.video_tokens.size(1), S = in.video_tokens.size(2);
    const Tensor group = row_groups(ops, in, 0, N, N * S);
    const Modulation s = modulation(ops, m.blocks.front().scale_shift_table, in.mod, group);
    return layer_norm(ops, in.video_tokens.reshape({N * S, m.config.hidden_size}), s.scale_a, s.shift_a, group);
}

Tensor denoise_chunk(Ops& ops, const Transformer& m, const DitInputs& in, const Chunk& chunk, int64_t channels,
                     int64_t height, int64_t width, bool raw, const Tensor& finite_flag, const Residual& residual) {
    const int64_t B = in.video_tokens.size(0), F = chunk.end - chunk.first, S = in.video_tokens.size(2),
                  C = m.config.hidden_size, context = chunk.start - chunk.first;
    const bool full = m.config.layout == Layout::full;

    // Rows of a video: tokens of the chunk, then (full) the global tokens.
    Tensor h = contiguous(ops, in.video_tokens.slice(1, chunk.first, chunk.end)).reshape({B, F * S, C});
    const Tensor h0 = residual.rows && !residual.reused ? h : Tensor();
    if (residual.reused) h = add(ops, h, residual.rows.reshape(h.shape()));
    if (in.global_tokens && full) h = concatenate(ops, {h, in.global_tokens}, 1);
    const Tensor caption_rows = in.keys_and_values.empty() ? attended_rows(ops, m, in) : Tensor();
    const int64_t R = h.size(1);

    Tensor group = row_groups(ops, in, chunk.first, F, R);

    // Rotary positions: frame minus first owned frame. Of several videos each row has its own line of the table; there,
    // global rows have position 0, which turns nothing.
    std::vector<float> positions;
    const int64_t turned = B == 1 ? F : R;
    for (int64_t video = 0; video < B; video++)
        for (int64_t line = 0; line < turned; line++) {
            const int64_t f = B == 1 ? line : line / S;
            positions.push_back(f < F ? static_cast<float>(f - context) : 0.f);
        }
    const Rotary rotary{rope_table(ops, constant(ops, positions, {B * turned}), m.rope_freqs),
                        B == 1 ? static_cast<int>(S) : 1};
    PlannedFrameAttention planned;
    if (in.attention.kind != FrameAttention::Kind::whole)
        planned = plan_frame_attention(ops, in.attention, F, (height + 1) / 2, (width + 1) / 2);
    const PlannedFrameAttention* frames = planned.windows.empty() ? nullptr : &planned;
    const SelfAttention spatial{{B * F, S, S, 1}, {}, 0};
    const SelfAttention temporal{{S, F, 1, S, B}, rotary, context, frames};
    const SelfAttention everything{{B, R, R, 1}, rotary, context * S, frames};

    // streaming-t2v: captions that know the anchor, and layers that read the context.
    const Tensor mixed = in.anchor_tokens ? mixed_captions(ops, m, caption_rows, in.anchor_tokens) : Tensor();
    std::optional<ContextRows> read;
    if (in.latents && context > 0) read = context_rows(ops, m, in, chunk);
    const size_t blocks_per_layer = static_cast<size_t>(m.config.blocks_per_layer());

    for (size_t i = 0; i < m.blocks.size() && !residual.reused; i++) {
        const SelfAttention& shape = self_attention_of(m, i, spatial, temporal, everything);
        const int64_t G = in.global_tokens && !full ? in.global_tokens.size(1) : 0;
        const Tensor kv =
            in.keys_and_values.empty() ? Tensor() : of_chunk(ops, in.keys_and_values[i], in.caption_rows, G);
        h = checkpoint(ops, [&m, i, h, &in, group, shape, caption_rows, mixed, kv](Ops& ops) {
            return transformer_block(ops, m, m.blocks[i], h, in, group, shape,
                                     mixed ? block_captions(ops, m, i, caption_rows, mixed) : caption_rows, kv);
        });
        check_finite(ops, finite_flag, h, static_cast<int>(i));
        const size_t layer = i / blocks_per_layer;
        if (read && (i + 1) % blocks_per_layer == 0 && layer < m.cam.inject.size())
            h = attend_to_context(ops, m, in, chunk, *read, layer, h, caption_rows, finite_flag);
    }

    // Final layer: global rows are dropped; shift and scale = table + t_vec.
    const int64_t groups = in.t_vec.size(0);
    const Tensor video_rows = contiguous(ops, h.slice(1, 0, F * S)).reshape({B * F * S, C});
    if (h0) combine_into(ops, residual.rows, 1, video_rows, -1, h0.reshape(video_rows.shape()));
    const Tensor table = add(ops, m.final_scale_shift_table.reshape({1, 2, C}), in.t_vec.reshape({groups, 1, C}))
                             .reshape({groups, 2 * C});
    const Tensor shift = table.slice(1, 0, C), scale = table.slice(1, C, 2 * C);
    Tensor u;
    if (in.levels > 1 && raw) {
        u = layer_norm(ops, video_rows, scale.slice(0, 0, 1), shift.slice(0, 0, 1));
        const Tensor again = layer_norm(ops, u, scale.slice(0, 1, 2), shift.slice(0, 1, 2));
        for (int64_t f = 0; f < F; f++)
            if (in.frame_level[static_cast<size_t>(chunk.first + f)])
                copy_into(ops, u.slice(0, f * S, (f + 1) * S), again.slice(0, f * S, (f + 1) * S));
    } else {
        if (group) group = contiguous(ops, group.reshape({B, R}).slice(1, 0, F * S)).reshape({B * F * S});
        u = layer_norm(ops, video_rows, scale, shift, group);
    }
    return unpatchify(ops, linear(ops, u, m.final_linear).reshape({B * F, S, 4 * m.config.out_channels()}),
                      {channels, B * F, height, width});
}

}  // namespace vin
