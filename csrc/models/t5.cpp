#include "t5.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace vin {

T5Config t5_config(const JsonField& json) {
    T5Config c;
    c.vocab_size = json["vocab_size"].integer_or(c.vocab_size, 1, 1 << 22);
    c.d_model = json["d_model"].integer_or(c.d_model, 1, 65536);
    c.d_kv = json["d_kv"].integer_or(c.d_kv, 1, 512);
    c.d_ff = json["d_ff"].integer_or(c.d_ff, 1, 1 << 20);
    c.num_layers = json["num_layers"].integer_or(c.num_layers, 1, 256);
    c.num_heads = json["num_heads"].integer_or(c.num_heads, 1, 1024);
    c.num_buckets = json["relative_attention_num_buckets"].integer_or(c.num_buckets, 4, 65536);
    c.max_distance = json["relative_attention_max_distance"].integer_or(c.max_distance, c.num_buckets / 4 + 1, 1 << 20);
    c.eps = static_cast<float>(json["layer_norm_epsilon"].number_or(1e-6, 0, 1));
    if (json["feed_forward_proj"].present_and_not_null()) json["feed_forward_proj"].one_of({"gated-gelu"});
    return c;
}

static std::string block_name(int64_t i) { return "encoder.block." + std::to_string(i) + ".layer."; }
static const char* const bias_table = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight";

std::vector<WeightSpec> t5_weights(const T5Config& c) {
    const int64_t inner = c.num_heads * c.d_kv;
    std::vector<WeightSpec> specs = {{"shared.weight", {c.vocab_size, c.d_model}, Init::normal, 1.f}};
    const auto matrix = [&](const std::string& name, int64_t out, int64_t in) {
        specs.push_back({name + ".weight", {out, in}, Init::xavier});
    };
    const auto norm = [&](const std::string& name) { specs.push_back({name + ".weight", {c.d_model}, Init::one}); };
    for (int64_t i = 0; i < c.num_layers; i++) {
        const std::string attention = block_name(i) + "0.SelfAttention.", dense = block_name(i) + "1.DenseReluDense.";
        norm(block_name(i) + "0.layer_norm");
        for (const char* name : {"q", "k", "v"}) matrix(attention + name, inner, c.d_model);
        matrix(attention + "o", c.d_model, inner);
        if (i == 0) specs.push_back({bias_table, {c.num_buckets, c.num_heads}, Init::normal});
        norm(block_name(i) + "1.layer_norm");
        matrix(dense + "wi_0", c.d_ff, c.d_model);
        matrix(dense + "wi_1", c.d_ff, c.d_model);
        matrix(dense + "wo", c.d_model, c.d_ff);
    }
    norm("encoder.final_layer_norm");
    return specs;
}

std::string t5_canonical_name(const std::string& name) {
    return name == "encoder.embed_tokens.weight" ? "shared.weight" : name;
}

// Half of the buckets are for keys behind the query. Of each half, half are single distances, the rest logarithmic up
// to max_distance.
int32_t t5_bucket(const T5Config& c, int64_t r) {
    const int64_t half = c.num_buckets / 2, exact = half / 2, n = std::llabs(r);
    int64_t bucket = n;
    if (n >= exact) {
        const double ratio =
            std::log(static_cast<double>(n) / exact) / std::log(static_cast<double>(c.max_distance) / exact);
        bucket = std::min(half - 1, exact + static_cast<int64_t>(ratio * (half - exact) +
                                                                 1e-9));  // 1e-9: powers of two lie on a boundary
    }
    return static_cast<int32_t>((r > 0 ? half : 0) + bucket);
}

// bias[h,i,j] = table[bucket(j − i), h], the same in every block
Tensor T5::position_bias(Ops& ops, int64_t length) const {
    std::vector<int32_t> buckets;
    buckets.reserve(static_cast<size_t>(length * length));
    for (int64_t i = 0; i < length; i++)
        for (int64_t j = 0; j < length; j++) buckets.push_back(t5_bucket(config, j - i));
    const Tensor rows = embedding(ops, weights.at(bias_table), constant(ops, buckets, {length * length}));
    return rows.reshape({length, length, config.num_heads}).permute({2, 0, 1});
}

Tensor T5::block(Ops& ops, int64_t i, const Tensor& x_, const Tensor& bias) const {
    const std::string attention = block_name(i) + "0.SelfAttention.", dense = block_name(i) + "1.DenseReluDense.";
    const auto norm = [&](const std::string& name, const Tensor& x) {
        return rms_norm(ops, x, weights.at(name + ".layer_norm.weight"), config.eps);
    };
    const auto project = [&](const std::string& name, const Tensor& x, const Epilogue& epilogue = {}) {
        return linear(ops, x, weights.at(name + ".weight"), {}, epilogue);
    };

    // x += o(softmax(q(n) · k(n)ᵀ + bias) v(n)), n = RMS(x) · w; no 1/√d
    Tensor x = x_;
    Tensor n = norm(block_name(i) + "0", x);
    const Tensor q = project(attention + "q", n), k = project(attention + "k", n), v = project(attention + "v", n);
    const Tensor y = biased_attention(ops, q, k, v, static_cast<int>(config.num_heads), bias, 1);
    x = project(attention + "o", y, Epilogue{VIN_ACTIVATION_NONE, {}, {}, x});
    // x += wo(gelu(wi_0 n) · (wi_1 n))
    n = norm(block_name(i) + "1", x);
    const Tensor gated = multiply(ops, project(dense + "wi_0", n, Epilogue{VIN_ACTIVATION_GELU, {}, {}, {}}),
                                  project(dense + "wi_1", n));
    return project(dense + "wo", gated, Epilogue{VIN_ACTIVATION_NONE, {}, {}, x});
}

Tensor T5::encode(Ops& ops, const std::vector<int32_t>& ids) const {
    return encode(ops, constant(ops, ids, {static_cast<int64_t>(ids.size())}));
}

Tensor T5::encode(Ops& ops, const Tensor& ids) const {
    if (ids.rank() < 1 || ids.rank() > 2 || ids.dtype() != VIN_DTYPE_I32 || ids.numel() < 1)
        throw Error("VIN_INVALID", std::string("Expected token ids int32 [L] or [B, L] but found ") +
                                       dtype_name(ids.dtype()) + " " + to_string(ids.shape()));
    Shape shape = ids.shape();
    shape.push_back(config.d_model);
    Tensor x = embedding(ops, weights.at("shared.weight"), ids.reshape({ids.numel()})).reshape(shape);
    const Tensor bias = position_bias(ops, ids.size(-1));
    for (int64_t i = 0; i < config.num_layers; i++)
        x = checkpoint(ops, [this, i, x, bias](Ops& ops) { return block(ops, i, x, bias); });
    return rms_norm(ops, x, weights.at("encoder.final_layer_norm.weight"), config.eps);
}

}  // namespace vin
