#include "apm.h"

namespace vin {

static constexpr int64_t side = 4;  // an anchor is pooled to side × side tokens

// Means over side × side parts of a grid of patches, as one matrix [side², rows · columns]. A part reaches from
// ⌊i · n / side⌋ to ⌈(i + 1) · n / side⌉, so that small grids have parts that overlap.
static Tensor pooling(Ops& ops, int64_t rows, int64_t columns) {
    const auto begin = [](int64_t i, int64_t n) { return i * n / side; };
    const auto end = [](int64_t i, int64_t n) { return ((i + 1) * n + side - 1) / side; };
    std::vector<float> matrix(static_cast<size_t>(side * side * rows * columns), 0.f);
    for (int64_t part = 0; part < side * side; part++) {
        const int64_t y0 = begin(part / side, rows), y1 = end(part / side, rows), x0 = begin(part % side, columns),
                      x1 = end(part % side, columns);
        for (int64_t y = y0; y < y1; y++)
            for (int64_t x = x0; x < x1; x++)
                matrix[static_cast<size_t>((part * rows + y) * columns + x)] =
                    static_cast<float>(1.0 / static_cast<double>((y1 - y0) * (x1 - x0)));
    }
    return constant(ops, matrix, {side * side, rows * columns});
}

Tensor anchor_tokens(Ops& ops, const Transformer& m, const Tensor& anchors) {
    const int64_t B = anchors.size(1), C = m.config.hidden_size, rows = (anchors.size(2) + 1) / 2,
                  columns = (anchors.size(3) + 1) / 2;
    const Tensor patches = linear(ops, patchify(ops, anchors), m.x_embedder);  // [B, S, C]
    const Tensor pooled = linear(ops, contiguous(ops, patches.permute({0, 2, 1})).reshape({B * C, rows * columns}),
                                 pooling(ops, rows, columns), {});  // [B · C, 16]
    const Tensor tokens = contiguous(ops, pooled.reshape({B, C, side * side}).permute({0, 2, 1}));
    return mlp(ops, tokens, m.apm.anchor, VIN_ACTIVATION_SILU);
}

Tensor mixed_captions(Ops& ops, const Transformer& m, const Tensor& captions, const Tensor& anchor_tokens) {
    const CrossAttentionWeights& mix = m.apm.mix;
    const Tensor q = linear(ops, captions, mix.q_linear),
                 kv = linear(ops, concatenate(ops, {captions, anchor_tokens}, 1), mix.kv_linear);
    const Tensor attended = cross_attention(ops, q, kv, static_cast<int>(m.config.num_heads), {}, {});
    return layer_norm(ops, linear(ops, attended, mix.proj));
}

Tensor block_captions(Ops& ops, const Transformer& m, size_t block, const Tensor& captions, const Tensor& mixed) {
    const int64_t l = static_cast<int64_t>(block);
    const Tensor share = silu(ops, m.apm.alpha.slice(0, l, l + 1)).reshape({1, 1, 1});
    return add(ops, captions, multiply(ops, mixed, share));
}

}  // namespace vin
