// The denoiser of model.md: a DiT backbone in one of three attention layouts and, when it has one, a Video Interface
// Network. Configuration and weights.
#pragma once
#include <string>
#include <vector>

#include "../core/json.h"
#include "../core/weights.h"
#include "../ops/ops.h"

namespace vin {

enum class Layout { factorised, hybrid, full };

struct VinConfig {
    int64_t num_global_tokens = 0, dim = 0, num_heads = 0, num_blocks = 4;
};

// config.json of model.md §2.
struct TransformerConfig {
    Layout layout = Layout::factorised;
    int64_t depth = 0, hidden_size = 0, num_heads = 0, in_channels = 4, caption_channels = 0, model_max_length = 300;
    int64_t mlp_hidden = 0;
    bool qk_norm = true, pred_sigma = true;
    double input_sq_size = 512, max_latent_frames = 80;
    bool has_vin = false, has_time_embedder = false;
    VinConfig vin;

    int64_t out_channels() const { return pred_sigma ? 2 * in_channels : in_channels; }
};

TransformerConfig transformer_config(const JsonField& config);
// Names, shapes and initial values of every tensor; those of the time code and of the VIN only when the config has
// them.
std::vector<WeightSpec> transformer_weights(const TransformerConfig& config);

struct Transformer {
    TransformerConfig config;
    Weights weights;

    const Tensor& at(const std::string& name) const { return weights.at(name); }
    // x weightᵀ + bias of the Linear called `name`.
    Tensor linear(Ops& ops, const Tensor& x, const std::string& name, const Epilogue& epilogue = {}) const {
        return vin::linear(ops, x, weights.at(name + ".weight"), weights.at(name + ".bias"), epilogue);
    }
    // Linear, activation, Linear.
    Tensor mlp(Ops& ops, const Tensor& x, const std::string& first, const std::string& second, int32_t activation,
               const Epilogue& epilogue = {}) const {
        Epilogue inner;
        inner.activation = activation;
        return linear(ops, linear(ops, x, first, inner), second, epilogue);
    }
};

// §3.4, §3.5: scale_shift_table [6, width] + mod [groups, 6·width] as six [groups, width] rows.
Modulation modulation(Ops& ops, const Tensor& scale_shift_table, const Tensor& mod, const Tensor& group);

}  // namespace vin
