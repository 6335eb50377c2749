#include "transformer.h"

namespace vin {

static VinConfig vin_config(ConfigReader& read) {
    VinConfig c;
    c.num_global_tokens = read.integer("num_global_tokens", 1, 65536);
    c.dim = read.integer("dim", 2, 65536);
    c.num_heads = read.integer("num_heads", 1, 1024);
    c.num_blocks = read.integer("num_blocks", 0, 256, 4);
    read.number("keyframe_interval", 1e-3, 3600, 1);  // seconds
    c.memory = read["memory"].boolean_or(false);
    if (c.memory) read.keep("memory", true);
    if (read["global_features"].present_and_not_null()) c.global_features = read.integer("global_features", 1, 65536);
    if (c.dim % c.num_heads != 0 || c.dim / c.num_heads > 512)
        read["num_heads"].fail("a divisor of vin.dim ", c.dim, " with heads of at most 512");
    return c;
}

TransformerConfig transformer_config(const JsonField& json) {
    TransformerConfig c;
    ConfigReader read(json);
    read.named("_class_name", {"VinTransformer3DModel", "STDiT3"});
    read.named("model_type", {"STDiT3"});
    const std::string layout = read.one_of("attention_layout", {"factorised", "hybrid", "full"}, "factorised");
    c.layout = layout == "full" ? Layout::full : layout == "hybrid" ? Layout::hybrid : Layout::factorised;
    c.depth = read.integer("depth", 1, 1024);
    c.hidden_size = read.integer("hidden_size", 4, 65536);
    c.num_heads = read.integer("num_heads", 1, 1024);
    c.in_channels = read.integer("in_channels", 1, 256, 4);
    const std::vector<int64_t> patch = {1, 2, 2};
    if (read.integers("patch_size", 1, 64, patch) != patch) read["patch_size"].unsupported("[1, 2, 2]");
    c.mlp_hidden = static_cast<int64_t>(static_cast<double>(c.hidden_size) * read.number("mlp_ratio", 0.25, 64, 4));
    c.caption_channels = read.integer("caption_channels", 1, 65536);
    c.model_max_length = read.integer("model_max_length", 1, 65536, 300);
    c.qk_norm = read.boolean("qk_norm", true);
    c.pred_sigma = read.boolean("pred_sigma", true);
    c.input_sq_size = read.number("input_sq_size", 1, 65536, 512);
    const int64_t chunk_frames = read.integer("chunk_frames", 1, 65536, 20);
    if (read.integer("context_frames", 0, 65536, 8) > chunk_frames)
        read["context_frames"].fail("at most chunk_frames ", chunk_frames);
    read.number("latent_fps", 0.01, 1000, 5);
    c.max_latent_frames = static_cast<double>(read.integer("max_latent_frames", 1, 1000000, 80));
    read.numbers("step_cache_polynomial", 5);
    const int64_t head = c.hidden_size / c.num_heads;
    if (c.hidden_size % c.num_heads != 0 || head % 2 != 0 || head > 512)
        read["num_heads"].fail("a number of heads that splits hidden_size ", c.hidden_size,
                               " into even parts of at most 512");
    if (c.hidden_size % 4 != 0) read["hidden_size"].fail("a multiple of 4");
    if (read["skip_y_embedder"].boolean_or(false))
        read["skip_y_embedder"].unsupported("false (captions pass through y_embedder here)");
    if (read["vin"].present_and_not_null()) {
        ConfigReader vin(read["vin"]);
        c.vin = vin_config(vin);
        c.has_vin = c.has_time_embedder = true;
        read.keep("vin", vin.resolved());
    }
    const auto part = [&](const char* key) {
        const bool here = read[key].boolean_or(false);
        if (here) read.keep(key, true);
        return here;
    };
    c.has_cam = part("cam");
    c.has_apm = part("apm");
    c.has_fusion = part("fusion");
    if (c.has_cam && c.depth < 2) read["depth"].fail("at least 2 with cam, which copies the first half of the layers");
    c.resolved = read.resolved();
    return c;
}

// Every tensor of the model: name, shape, initial value and place, in the order that initial values are drawn in.
static void list_weights(WeightList& list, const TransformerConfig& c, TransformerWeights& m) {
    const int64_t C = c.hidden_size, D = c.caption_channels;
    const auto linear = [&](Layer& layer, const std::string& name, int64_t out, int64_t in, Init init = Init::xavier,
                            bool optional = false) { list.layer(layer, name, {out, in}, true, init, optional); };
    const auto mlp = [&](MlpWeights& weights, const std::string& fc1, const std::string& fc2, int64_t out, int64_t in,
                         int64_t hidden, Init init = Init::xavier) {
        linear(weights.fc1, fc1, hidden, in, init);
        linear(weights.fc2, fc2, out, hidden, init);
    };
    const auto self_attention = [&](SelfAttentionWeights& attn, const std::string& name, int64_t width, int64_t heads,
                                    bool qk_norm) {
        linear(attn.qkv, name + ".qkv", 3 * width, width);
        if (qk_norm) {
            list.add(attn.q_norm, {name + ".q_norm.weight", {width / heads}, Init::one});
            list.add(attn.k_norm, {name + ".k_norm.weight", {width / heads}, Init::one});
        }
        linear(attn.proj, name + ".proj", width, width);
    };
    const auto block = [&](std::vector<TransformerBlock>& blocks, const std::string& name, int64_t width) {
        blocks.emplace_back();
        blocks.back().name = name;
        list.add(blocks.back().scale_shift_table, {name + ".scale_shift_table", {6, width}, Init::table});
        return &blocks.back();
    };

    list.add(m.rope_freqs, {"rope.freqs", {C / c.num_heads / 2}, Init::rope});
    list.layer(m.x_embedder, "x_embedder.proj", {C, c.in_channels, 1, 2, 2}, true);
    mlp(m.t_embedder, "t_embedder.mlp.0", "t_embedder.mlp.2", C, 256, C, Init::normal);
    mlp(m.fps_embedder, "fps_embedder.mlp.0", "fps_embedder.mlp.2", C, 256, C, Init::normal);
    if (c.has_time_embedder) linear(m.time_embedder, "time_embedder", C, 256, Init::normal, true);
    linear(m.t_block, "t_block.1", 6 * C, C, Init::normal);
    list.add(m.y_embedding, {"y_embedder.y_embedding", {c.model_max_length, D}, Init::normal, 0.3f});
    mlp(m.y_proj, "y_embedder.y_proj.fc1", "y_embedder.y_proj.fc2", C, D, C, Init::normal);
    const auto cross_attention = [&](CrossAttentionWeights& attn, const std::string& name, Init proj) {
        linear(attn.q_linear, name + ".q_linear", C, C);
        linear(attn.kv_linear, name + ".kv_linear", 2 * C, C);
        linear(attn.proj, name + ".proj", C, C, proj);
    };
    const auto dit_block = [&](std::vector<TransformerBlock>& blocks, const std::string& name) {
        TransformerBlock& b = *block(blocks, name, C);
        self_attention(b.attn, name + ".attn", C, c.num_heads, c.qk_norm);
        cross_attention(b.cross_attn, name + ".cross_attn", Init::zero);
        mlp(b.mlp, name + ".mlp.fc1", name + ".mlp.fc2", C, C, c.mlp_hidden);
    };
    const auto layers = [&](std::vector<TransformerBlock>& blocks, const std::string& prefix, int64_t count) {
        for (int64_t i = 0; i < count; i++) {
            if (c.layout == Layout::full) {
                dit_block(blocks, prefix + "blocks." + std::to_string(i));
            } else {
                dit_block(blocks, prefix + "spatial_blocks." + std::to_string(i));
                dit_block(blocks, prefix + "temporal_blocks." + std::to_string(i));
            }
        }
    };
    layers(m.blocks, "", c.depth);
    list.add(m.final_scale_shift_table, {"final_layer.scale_shift_table", {2, C}, Init::table});
    linear(m.final_linear, "final_layer.linear", 4 * c.out_channels(), C, Init::zero);
    if (c.has_vin) {
        const int64_t d = c.vin.dim, head = d / c.vin.num_heads;
        list.add(m.vin.global_tokens, {"vin.global_tokens", {c.vin.num_global_tokens, d}, Init::normal, 1});
        linear(m.vin.encoder.attn.q_linear, "vin.encoder.q_linear", d, d);
        linear(m.vin.encoder.attn.kv_linear, "vin.encoder.kv_linear", 2 * d, C);
        linear(m.vin.encoder.attn.proj, "vin.encoder.proj", d, d);
        list.add(m.vin.encoder.q_norm, {"vin.encoder.q_norm.weight", {head}, Init::one});
        list.add(m.vin.encoder.k_norm, {"vin.encoder.k_norm.weight", {head}, Init::one});
        mlp(m.vin.encoder.mlp, "vin.encoder.mlp.fc1", "vin.encoder.mlp.fc2", d, d, 4 * d);
        linear(m.vin.text_proj, "vin.text_proj", d, D);
        linear(m.vin.t_block, "vin.t_block.1", 6 * d, C, Init::normal);
        linear(m.vin.out_proj, "vin.out_proj", C, d);
        for (int64_t i = 0; i < c.vin.num_blocks; i++) {
            const std::string name = "vin.blocks." + std::to_string(i);
            TransformerBlock& b = *block(m.vin.blocks, name, d);
            self_attention(b.attn, name + ".attn", d, c.vin.num_heads, true);
            mlp(b.mlp, name + ".mlp.fc1", name + ".mlp.fc2", d, d, 4 * d);
        }
    }
    if (c.has_cam) {
        list.layer(m.cam.x_embedder, "cam.x_embedder.proj", {C, c.in_channels, 1, 2, 2}, true);
        layers(m.cam.blocks, "cam.", c.depth / 2);
        for (int64_t i = 0; i < c.depth / 2; i++) {
            m.cam.inject.emplace_back();
            cross_attention(m.cam.inject.back(), "cam.inject." + std::to_string(i), Init::zero);
        }
    }
    if (c.has_apm) {
        mlp(m.apm.anchor, "apm.fc1", "apm.fc2", C, C, C);
        cross_attention(m.apm.mix, "apm.mix", Init::xavier);
        list.add(m.apm.alpha, {"apm.alpha", {c.depth * c.blocks_per_layer()}, Init::zero});
    }
    if (c.has_vin && c.vin.memory) {
        const int64_t d = c.vin.dim;
        mlp(m.vin.memory.mlp, "vin.memory.fc1", "vin.memory.fc2", d, d, 4 * d);
        list.add(m.vin.memory.norm.weight, {"vin.memory.norm.weight", {d}, Init::zero});
        list.add(m.vin.memory.norm.bias, {"vin.memory.norm.bias", {d}, Init::zero});
    }
    if (c.has_vin && c.vin.global_features > 0)
        linear(m.vin.global_features, "vin.global_features", c.vin.global_features,
               c.vin.num_global_tokens * c.vin.dim);
    if (c.has_fusion) list.add(m.fusion_offsets, {"fusion.offsets", {c.in_channels, fusion_places}, Init::zero});
}

std::vector<WeightSpec> transformer_weights(const TransformerConfig& config) {
    WeightList list;
    TransformerWeights unused;
    list_weights(list, config, unused);
    return list.specs;
}

Transformer::Transformer(TransformerConfig config_, Weights weights_) : config(config_), weights(std::move(weights_)) {
    config.has_vin = weights.has("vin.global_tokens");
    WeightList list(&weights);
    list_weights(list, config, *this);
}

Tensor mlp(Ops& ops, const Tensor& x, const MlpWeights& weights, int32_t activation, const Epilogue& epilogue) {
    return linear(ops, linear(ops, x, weights.fc1, {activation, {}, {}, {}}), weights.fc2, epilogue);
}

Modulation modulation(Ops& ops, const Tensor& scale_shift_table, const Tensor& mod, const Tensor& group) {
    const int64_t width = scale_shift_table.size(1);
    const Tensor rows = add(ops, mod, scale_shift_table.reshape({1, 6 * width}));  // [groups, 6·width]
    const auto row = [&](int64_t i) { return rows.slice(1, i * width, (i + 1) * width); };
    return {row(0), row(1), row(2), row(3), row(4), row(5), group};
}

}  // namespace vin
