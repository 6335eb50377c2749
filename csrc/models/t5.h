// T5 v1.1 encoder (opensora.md §4.2), as transformers' T5EncoderModel.
#pragma once
#include <string>
#include <vector>

#include "../core/weights.h"
#include "../ops/ops.h"
#include "config.h"

namespace vin {

struct T5Config {
    int64_t vocab_size = 32128, d_model = 0, d_kv = 0, d_ff = 0, num_layers = 0, num_heads = 0;
    int64_t num_buckets = 32, max_distance = 128;
    float eps = 1e-6f;
    JsonObject resolved;
};

// Missing keys are transformers' defaults; sizes must be there. Throws VIN_FORMAT, and VIN_NOT_SUPPORTED for another
// form of the feed-forward layers.
T5Config t5_config(const JsonField& config);
std::vector<WeightSpec> t5_weights(const T5Config& config);
// The word embedding also goes by encoder.embed_tokens.weight.
std::string t5_canonical_name(const std::string& name);
// The row of the bias table for a key at distance r = j − i from the query.
int32_t t5_bucket(const T5Config& config, int64_t r);

struct T5Block {
    Tensor attention_norm, q, k, v, o;
    Tensor dense_norm, wi_0, wi_1, wo;
};

// The tensors of an encoder, by their place in it.
struct T5Weights {
    Tensor words;          // [vocab_size, d_model]
    Tensor position_bias;  // [num_buckets, num_heads]
    std::vector<T5Block> blocks;
    Tensor final_norm;
};

// It must outlive a tape it recorded on.
struct T5 : T5Weights {
    T5Config config;
    Weights weights;

    T5(const T5Config& config, Weights weights);  // `weights` by the names of t5_weights

    // ids i32 [L], valid tokens only → [L, d_model]; texts of one length: [B, L] → [B, L, d_model]
    Tensor encode(Ops& ops, const Tensor& ids) const;
    Tensor encode(Ops& ops, const std::vector<int32_t>& ids) const;
};

}  // namespace vin
