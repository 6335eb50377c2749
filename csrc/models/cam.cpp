#include "cam.h"

namespace vin {

ContextRows context_rows(Ops& ops, const Transformer& m, const DitInputs& in, const Chunk& chunk) {
    const int64_t B = in.video_tokens.size(0), N = in.video_tokens.size(1), S = in.video_tokens.size(2),
                  C = in.video_tokens.size(3), F = chunk.start - chunk.first;
    std::vector<Tensor> latents;
    for (int64_t b = 0; b < B; b++) latents.push_back(in.latents.slice(1, b * N + chunk.first, b * N + chunk.start));
    ContextRows context;
    context.rows = patch_tokens(ops, m, m.cam.x_embedder, B == 1 ? latents.front() : concatenate(ops, latents, 1), B,
                                chunk.first, N, in.height, in.width)
                       .reshape({B, F * S, C});
    // Of a video's levels of t the first one is t, also in the finished frames.
    const int64_t levels = in.mod.size(0) / B;
    if (B > 1) {
        std::vector<int32_t> groups;
        for (int64_t row = 0; row < B * F * S; row++) groups.push_back(static_cast<int32_t>(row / (F * S) * levels));
        context.group = constant(ops, groups, {B * F * S});
    }
    std::vector<float> positions;
    for (int64_t video = 0; video < B; video++)
        for (int64_t f = 0; f < F; f++)
            for (int64_t line = 0; line < (B == 1 ? 1 : S); line++) positions.push_back(static_cast<float>(f - F));
    const Rotary rotary{
        rope_table(ops, constant(ops, positions, {static_cast<int64_t>(positions.size())}), m.rope_freqs),
        B == 1 ? static_cast<int>(S) : 1};
    context.spatial = {{B * F, S, S, 1}, {}, 0};
    context.temporal = {{S, F, 1, S, B}, rotary, 0};
    context.everything = {{B, F * S, F * S, 1}, rotary, 0};
    return context;
}

// x [B, T · S, C] as sequences of one site each, [B · S, T, C], and back.
static Tensor sites(Ops& ops, const Tensor& x, int64_t S) {
    const int64_t B = x.size(0), T = x.size(1) / S, C = x.size(2);
    return contiguous(ops, x.reshape({B, T, S, C}).permute({0, 2, 1, 3})).reshape({B * S, T, C});
}
static Tensor from_sites(Ops& ops, const Tensor& x, int64_t B) {
    const int64_t S = x.size(0) / B, T = x.size(1), C = x.size(2);
    return contiguous(ops, x.reshape({B, S, T, C}).permute({0, 2, 1, 3})).reshape({B, T * S, C});
}

static Tensor inject(Ops& ops, const Transformer& m, const CrossAttentionWeights& weights, const Tensor& h,
                     const Tensor& context, int64_t S) {
    const Tensor q = sites(ops, linear(ops, layer_norm(ops, h), weights.q_linear), S),
                 kv = sites(ops, linear(ops, context, weights.kv_linear), S);
    const Tensor attended = cross_attention(ops, q, kv, static_cast<int>(m.config.num_heads), {}, {});
    Epilogue plus_h;
    plus_h.residual = h;
    return linear(ops, from_sites(ops, attended, h.size(0)), weights.proj, plus_h);
}

Tensor attend_to_context(Ops& ops, const Transformer& m, const DitInputs& in, const Chunk& chunk, ContextRows& context,
                         size_t layer, const Tensor& h, const Tensor& captions, const Tensor& finite_flag) {
    const size_t count = static_cast<size_t>(m.config.blocks_per_layer());
    for (size_t i = layer * count; i < (layer + 1) * count; i++) {
        const SelfAttention& shape = self_attention_of(m, i, context.spatial, context.temporal, context.everything);
        const Tensor rows = context.rows, group = context.group;
        context.rows = checkpoint(ops, [&m, &in, i, rows, group, shape, captions](Ops& ops) {
            return transformer_block(ops, m, m.cam.blocks[i], rows, in, group, shape, captions, {});
        });
        check_finite(ops, finite_flag, context.rows, cam_block_code + static_cast<int>(i));
    }
    const int64_t S = context.rows.size(1) / (chunk.start - chunk.first);
    return checkpoint(ops, [&m, layer, h, rows = context.rows, S](Ops& ops) {
        return inject(ops, m, m.cam.inject[layer], h, rows, S);
    });
}

}  // namespace vin
