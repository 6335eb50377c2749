// The denoiser of model.md: a DiT backbone in one of three attention layouts and, when it has one, a Video Interface
// Network. Configuration and weights.
#pragma once
#include <string>
#include <vector>

#include "../core/weights.h"
#include "../ops/ops.h"
#include "config.h"

namespace vin {

enum class Layout { factorised, hybrid, full };

struct VinConfig {
    int64_t num_global_tokens = 0, dim = 0, num_heads = 0, num_blocks = 4;
    bool memory = false;
    int64_t global_features = 0;  // numbers that the head vin.global_features tells; 0: none
};

// config.json of model.md §2; `resolved` has the keys that nothing in C++ computes with, too.
struct TransformerConfig {
    Layout layout = Layout::factorised;
    int64_t depth = 0, hidden_size = 0, num_heads = 0, in_channels = 4, caption_channels = 0, model_max_length = 300;
    int64_t mlp_hidden = 0;
    bool qk_norm = true, pred_sigma = true;
    double input_sq_size = 512, max_latent_frames = 80;
    bool has_vin = false, has_time_embedder = false, has_cam = false, has_apm = false, has_fusion = false;
    VinConfig vin;
    JsonObject resolved;

    // A layer is a block of "full", else a spatial and a temporal one.
    int64_t blocks_per_layer() const { return layout == Layout::full ? 1 : 2; }
    int64_t out_channels() const { return pred_sigma ? 2 * in_channels : in_channels; }
};

TransformerConfig transformer_config(const JsonField& config);
// Names, shapes and initial values of every tensor; those of the time code, the VIN, CAM, APM and fusion only when the
// config has them.
std::vector<WeightSpec> transformer_weights(const TransformerConfig& config);

struct MlpWeights {
    Layer fc1, fc2;
};

struct SelfAttentionWeights {
    Layer qkv;
    Tensor q_norm, k_norm;  // [head size]; the DiT's may be absent
    Layer proj;
};

struct CrossAttentionWeights {
    Layer q_linear, kv_linear, proj;
};

struct TransformerBlock {
    std::string name;          // as published
    Tensor scale_shift_table;  // [6, width]
    SelfAttentionWeights attn;
    CrossAttentionWeights cross_attn;  // of the DiT alone
    MlpWeights mlp;
};

struct VinWeights {
    Tensor global_tokens;  // Z0 [G, d]
    struct {
        CrossAttentionWeights attn;
        Tensor q_norm, k_norm;  // [head size]
        MlpWeights mlp;
    } encoder;
    Layer text_proj, t_block, out_proj;
    std::vector<TransformerBlock> blocks;
    // What the global tokens take over from those of the evaluation before (methods.md §6).
    struct {
        MlpWeights mlp;
        Layer norm;  // weight and bias [d]
    } memory;
    Layer global_features;  // [K, G · d]: what a training has the tokens of a video tell of it
};

// The conditional attention module of streaming-t2v (methods.md §5). Its tensors are named as those that they begin as
// copies of, behind `cam.`.
struct CamWeights {
    Layer x_embedder;
    std::vector<TransformerBlock> blocks;       // of the first half of the layers, in the order in which they run
    std::vector<CrossAttentionWeights> inject;  // per layer
};

// The appearance preservation module of streaming-t2v.
struct ApmWeights {
    MlpWeights anchor;
    CrossAttentionWeights mix;
    Tensor alpha;  // [blocks], of the DiT
};

// Places inside an overlap at which fusion weights are learned: j / 8 of its frames, the eight of training.
static constexpr int64_t fusion_places = 7;

// The tensors of a transformer, by their place in it.
struct TransformerWeights {
    Tensor rope_freqs;  // [head size / 2]
    Layer x_embedder;
    MlpWeights t_embedder, fps_embedder;
    Layer time_embedder;  // absent in a plain backbone
    Layer t_block;
    Tensor y_embedding;  // [L, D]
    MlpWeights y_proj;
    std::vector<TransformerBlock> blocks;  // in the order in which they run
    Tensor final_scale_shift_table;        // [2, C]
    Layer final_linear;
    VinWeights vin;
    CamWeights cam;
    ApmWeights apm;
    Tensor fusion_offsets;  // [in_channels, fusion_places], beside linear weights
};

// It must outlive a tape it recorded on.
struct Transformer : TransformerWeights {
    TransformerConfig config;
    Weights weights;

    // `weights` by the names of transformer_weights; a model without vin.* has no global tokens.
    Transformer(TransformerConfig config, Weights weights);
};

inline Tensor linear(Ops& ops, const Tensor& x, const Layer& layer, const Epilogue& epilogue = {}) {
    return linear(ops, x, layer.weight, layer.bias, epilogue);
}
// Linear, activation, Linear.
Tensor mlp(Ops& ops, const Tensor& x, const MlpWeights& weights, int32_t activation, const Epilogue& epilogue = {});

// §3.4, §3.5: scale_shift_table [6, width] + mod [groups, 6·width] as six [groups, width] rows.
Modulation modulation(Ops& ops, const Tensor& scale_shift_table, const Tensor& mod, const Tensor& group);

}  // namespace vin
