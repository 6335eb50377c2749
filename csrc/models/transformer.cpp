#include "transformer.h"

namespace vin {

TransformerConfig transformer_config(const JsonField& json) {
    TransformerConfig c;
    const std::string layout = json["attention_layout"].present()
                                   ? json["attention_layout"].one_of({"factorised", "hybrid", "full"})
                                   : "factorised";
    c.layout = layout == "full" ? Layout::full : layout == "hybrid" ? Layout::hybrid : Layout::factorised;
    c.depth = json["depth"].integer(1, 1024);
    c.hidden_size = json["hidden_size"].integer(4, 65536);
    c.num_heads = json["num_heads"].integer(1, 1024);
    if (c.hidden_size % c.num_heads != 0)
        json["num_heads"].fail("a divisor of hidden_size " + std::to_string(c.hidden_size));
    if (c.hidden_size / c.num_heads > 512 || (c.hidden_size / c.num_heads) % 2 != 0)
        json["num_heads"].fail("heads of an even size up to 512");
    if (c.hidden_size % 4 != 0) json["hidden_size"].fail("a multiple of 4");
    c.in_channels = json["in_channels"].integer_or(4, 1, 256);
    c.caption_channels = json["caption_channels"].integer(1, 65536);
    c.model_max_length = json["model_max_length"].integer_or(300, 1, 65536);
    c.mlp_hidden = static_cast<int64_t>(static_cast<double>(c.hidden_size) * json["mlp_ratio"].number_or(4, 0.25, 64));
    c.qk_norm = json["qk_norm"].boolean_or(true);
    c.pred_sigma = json["pred_sigma"].boolean_or(true);
    c.input_sq_size = json["input_sq_size"].number_or(512, 1, 65536);
    c.max_latent_frames = static_cast<double>(json["max_latent_frames"].integer_or(80, 1, 1 << 20));
    if (json["patch_size"].present_and_not_null() &&
        json["patch_size"].integers(1, 16, 3) != std::vector<int64_t>{1, 2, 2})
        json["patch_size"].fail("[1, 2, 2]");
    const JsonField vin = json["vin"];
    if (vin.present_and_not_null()) {
        c.has_vin = c.has_time_embedder = true;
        c.vin.num_global_tokens = vin["num_global_tokens"].integer(1, 65536);
        c.vin.dim = vin["dim"].integer(1, 65536);
        c.vin.num_heads = vin["num_heads"].integer(1, 1024);
        c.vin.num_blocks = vin["num_blocks"].integer_or(4, 0, 256);
        if (c.vin.dim % c.vin.num_heads != 0 || c.vin.dim / c.vin.num_heads > 512)
            vin["num_heads"].fail("a divisor of vin.dim " + std::to_string(c.vin.dim) + " with heads of at most 512");
    }
    return c;
}

// Collects specs; every Linear has a weight and a bias.
struct Specs {
    std::vector<WeightSpec> list;
    void add(const std::string& name, Shape shape, Init init, float std = 0.02f, bool optional = false) {
        list.push_back({name, std::move(shape), init, std, optional});
    }
    void linear(const std::string& name, int64_t out, int64_t in, Init init = Init::xavier, bool optional = false) {
        add(name + ".weight", {out, in}, init, 0.02f, optional);
        add(name + ".bias", {out}, Init::zero, 0, optional);
    }
};

std::vector<WeightSpec> transformer_weights(const TransformerConfig& c) {
    const int64_t C = c.hidden_size, D = c.caption_channels, head = C / c.num_heads;
    Specs s;
    s.add("rope.freqs", {head / 2}, Init::rope);
    s.add("x_embedder.proj.weight", {C, c.in_channels, 1, 2, 2}, Init::xavier);
    s.add("x_embedder.proj.bias", {C}, Init::zero);
    for (const char* embedder : {"t_embedder", "fps_embedder"}) {
        s.linear(std::string(embedder) + ".mlp.0", C, 256, Init::normal);
        s.linear(std::string(embedder) + ".mlp.2", C, C, Init::normal);
    }
    if (c.has_time_embedder) s.linear("time_embedder", C, 256, Init::normal, true);
    s.linear("t_block.1", 6 * C, C, Init::normal);
    s.add("y_embedder.y_embedding", {c.model_max_length, D}, Init::normal, 0.3f);
    s.linear("y_embedder.y_proj.fc1", C, D, Init::normal);
    s.linear("y_embedder.y_proj.fc2", C, C, Init::normal);
    const auto block = [&](const std::string& prefix) {
        s.add(prefix + ".scale_shift_table", {6, C}, Init::table);
        s.linear(prefix + ".attn.qkv", 3 * C, C);
        if (c.qk_norm) {
            s.add(prefix + ".attn.q_norm.weight", {head}, Init::one);
            s.add(prefix + ".attn.k_norm.weight", {head}, Init::one);
        }
        s.linear(prefix + ".attn.proj", C, C);
        s.linear(prefix + ".cross_attn.q_linear", C, C);
        s.linear(prefix + ".cross_attn.kv_linear", 2 * C, C);
        s.linear(prefix + ".cross_attn.proj", C, C, Init::zero);
        s.linear(prefix + ".mlp.fc1", c.mlp_hidden, C);
        s.linear(prefix + ".mlp.fc2", C, c.mlp_hidden);
    };
    for (int64_t i = 0; i < c.depth; i++) {
        if (c.layout == Layout::full) {
            block("blocks." + std::to_string(i));
        } else {
            block("spatial_blocks." + std::to_string(i));
            block("temporal_blocks." + std::to_string(i));
        }
    }
    s.add("final_layer.scale_shift_table", {2, C}, Init::table);
    s.linear("final_layer.linear", 4 * c.out_channels(), C, Init::zero);
    if (c.has_vin) {
        const int64_t d = c.vin.dim, h = d / c.vin.num_heads;
        s.add("vin.global_tokens", {c.vin.num_global_tokens, d}, Init::normal, 1);
        s.linear("vin.encoder.q_linear", d, d);
        s.linear("vin.encoder.kv_linear", 2 * d, C);
        s.linear("vin.encoder.proj", d, d);
        s.add("vin.encoder.q_norm.weight", {h}, Init::one);
        s.add("vin.encoder.k_norm.weight", {h}, Init::one);
        s.linear("vin.encoder.mlp.fc1", 4 * d, d);
        s.linear("vin.encoder.mlp.fc2", d, 4 * d);
        s.linear("vin.text_proj", d, D);
        s.linear("vin.t_block.1", 6 * d, C, Init::normal);
        s.linear("vin.out_proj", C, d);
        for (int64_t b = 0; b < c.vin.num_blocks; b++) {
            const std::string prefix = "vin.blocks." + std::to_string(b);
            s.add(prefix + ".scale_shift_table", {6, d}, Init::table);
            s.linear(prefix + ".attn.qkv", 3 * d, d);
            s.add(prefix + ".attn.q_norm.weight", {h}, Init::one);
            s.add(prefix + ".attn.k_norm.weight", {h}, Init::one);
            s.linear(prefix + ".attn.proj", d, d);
            s.linear(prefix + ".mlp.fc1", 4 * d, d);
            s.linear(prefix + ".mlp.fc2", d, 4 * d);
        }
    }
    return s.list;
}

Modulation modulation(Ops& ops, const Tensor& scale_shift_table, const Tensor& mod, const Tensor& group) {
    const int64_t width = scale_shift_table.size(1);
    const Tensor rows = add(ops, mod, scale_shift_table.reshape({1, 6 * width}));  // [groups, 6·width]
    const auto row = [&](int64_t i) { return rows.slice(1, i * width, (i + 1) * width); };
    return {row(0), row(1), row(2), row(3), row(4), row(5), group};
}

}  // namespace vin
