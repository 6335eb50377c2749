#include "t5.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace vin {

T5Config t5_config(const JsonField& json) {
    T5Config c;
    ConfigReader read(json);
    read.named("_class_name", {"T5EncoderModel"});
    read.named("model_type", {"t5", "mt5"});
    c.vocab_size = read.integer("vocab_size", 1, 1 << 22, c.vocab_size);
    c.d_model = read.integer("d_model", 1, 65536);
    c.d_kv = read.integer("d_kv", 1, 512);
    c.d_ff = read.integer("d_ff", 1, 1 << 20);
    c.num_layers = read.integer("num_layers", 1, 256);
    c.num_heads = read.integer("num_heads", 1, 1024);
    c.num_buckets = read.integer("relative_attention_num_buckets", 4, 4096, c.num_buckets);
    c.max_distance = read.integer("relative_attention_max_distance", c.num_buckets / 4 + 1, 1 << 20, c.max_distance);
    c.eps = static_cast<float>(read.number("layer_norm_epsilon", 0, 1, 1e-6));
    const JsonField forward = read["feed_forward_proj"];
    const char* const form = "gated-gelu";
    if (forward.present_and_not_null() && (!forward.json()->text() || *forward.json()->text() != form))
        forward.unsupported("\"gated-gelu\" (T5 v1.1)");
    read.keep("feed_forward_proj", form);
    c.resolved = read.resolved();
    return c;
}

// Every tensor of the encoder: name, shape, initial value and place, in the order that initial values are drawn in.
static void list_weights(WeightList& list, const T5Config& c, T5Weights& m) {
    const int64_t inner = c.num_heads * c.d_kv;
    const auto matrix = [&](Tensor& tensor, const std::string& name, int64_t out, int64_t in) {
        list.add(tensor, {name + ".weight", {out, in}, Init::xavier});
    };
    const auto norm = [&](Tensor& tensor, const std::string& name) {
        list.add(tensor, {name + ".weight", {c.d_model}, Init::one});
    };
    list.add(m.words, {"shared.weight", {c.vocab_size, c.d_model}, Init::normal, 1.f});
    m.blocks.resize(static_cast<size_t>(c.num_layers));
    for (size_t i = 0; i < m.blocks.size(); i++) {
        T5Block& block = m.blocks[i];
        const std::string layer = "encoder.block." + std::to_string(i) + ".layer.",
                          attention = layer + "0.SelfAttention.", dense = layer + "1.DenseReluDense.";
        norm(block.attention_norm, layer + "0.layer_norm");
        matrix(block.q, attention + "q", inner, c.d_model);
        matrix(block.k, attention + "k", inner, c.d_model);
        matrix(block.v, attention + "v", inner, c.d_model);
        matrix(block.o, attention + "o", c.d_model, inner);
        if (i == 0)
            list.add(m.position_bias,
                     {attention + "relative_attention_bias.weight", {c.num_buckets, c.num_heads}, Init::normal});
        norm(block.dense_norm, layer + "1.layer_norm");
        matrix(block.wi_0, dense + "wi_0", c.d_ff, c.d_model);
        matrix(block.wi_1, dense + "wi_1", c.d_ff, c.d_model);
        matrix(block.wo, dense + "wo", c.d_model, c.d_ff);
    }
    norm(m.final_norm, "encoder.final_layer_norm");
}

std::vector<WeightSpec> t5_weights(const T5Config& config) {
    WeightList list;
    T5Weights unused;
    list_weights(list, config, unused);
    return list.specs;
}

T5::T5(const T5Config& config_, Weights weights_) : config(config_), weights(std::move(weights_)) {
    WeightList list(&weights);
    list_weights(list, config, *this);
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

// bias[h,i,j] = table[bucket(j − i), h], the same in every block: [heads, L, L]
static Tensor position_bias(Ops& ops, const T5& m, int64_t length) {
    std::vector<int32_t> buckets;
    buckets.reserve(static_cast<size_t>(length * length));
    for (int64_t i = 0; i < length; i++)
        for (int64_t j = 0; j < length; j++) buckets.push_back(t5_bucket(m.config, j - i));
    const Tensor rows = embedding(ops, m.position_bias, constant(ops, buckets, {length * length}));
    return rows.reshape({length, length, m.config.num_heads}).permute({2, 0, 1});
}

static Tensor block(Ops& ops, const T5Config& config, const T5Block& block, const Tensor& x0, const Tensor& bias) {
    const auto project = [&](const Tensor& x, const Tensor& weight, const Epilogue& epilogue = {}) {
        return linear(ops, x, weight, {}, epilogue);
    };
    // x += o(softmax(q(n) · k(n)ᵀ + bias) v(n)), n = RMS(x) · w; no 1/√d
    Tensor n = rms_norm(ops, x0, block.attention_norm, config.eps);
    const Tensor q = project(n, block.q), k = project(n, block.k), v = project(n, block.v);
    const Tensor y = biased_attention(ops, q, k, v, static_cast<int>(config.num_heads), bias, 1);
    const Tensor x1 = project(y, block.o, {VIN_ACTIVATION_NONE, {}, {}, x0});
    // x += wo(gelu(wi_0 n) · (wi_1 n))
    n = rms_norm(ops, x1, block.dense_norm, config.eps);
    const Tensor gated =
        multiply(ops, project(n, block.wi_0, {VIN_ACTIVATION_GELU, {}, {}, {}}), project(n, block.wi_1));
    return project(gated, block.wo, {VIN_ACTIVATION_NONE, {}, {}, x1});
}

Tensor T5::encode(Ops& ops, const std::vector<int32_t>& ids) const {
    return encode(ops, constant(ops, ids, {static_cast<int64_t>(ids.size())}));
}

Tensor T5::encode(Ops& ops, const Tensor& ids) const {
    if (ids.rank() < 1 || ids.rank() > 2 || ids.dtype() != VIN_DTYPE_I32 || ids.numel() < 1)
        throw invalid("Expected token ids int32 [L] or [B, L] but found ", dtype_name(ids.dtype()), " ", ids.shape());
    Shape shape = ids.shape();
    shape.push_back(config.d_model);
    Tensor x = embedding(ops, words, ids.reshape({ids.numel()})).reshape(shape);
    const Tensor bias = vin::position_bias(ops, *this, ids.size(-1));
    for (const T5Block& layer : blocks)
        x = checkpoint(ops, [this, &layer, x, bias](Ops& ops) { return block(ops, config, layer, x, bias); });
    return rms_norm(ops, x, final_norm, config.eps);
}

}  // namespace vin
