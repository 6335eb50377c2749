// Gradients, moments and moving averages of the weights that train, and one step over them. What a step is made of —
// rates, masks, dropout — is decided in TypeScript.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "../core/engine.h"
#include "denoise.h"
#include "t5.h"
#include "vae.h"

namespace vin {

// One video. Its text is that of its evaluation, or ids for a text encoder that trains along, or the first rows of
// y_embedding (text dropout).
struct VideoLoss {
    LossRequest request;
    std::vector<int32_t> ids;
    int64_t null_rows = 0;
};

struct VaeLoss {
    Tensor pixels, weight, noise;  // as vae_loss takes them
    Tensor latents;                // instead of noise: as vae_decoder_loss takes them
    VaeStage stage = VaeStage::spatial;
    double l1 = 1, mse = 2, kl = 0;
};

struct AdamOptions {
    std::vector<double> learning_rates, weight_decays;  // per name
    double beta1 = 0.9, beta2 = 0.999, eps = 1e-8, max_grad_norm = 0;
    int64_t step = 1;  // from 1: bias correction
};

class Trainer {
public:
    // Names with their prefixes, and shapes. Any thread.
    static std::vector<WeightSpec> trained(const std::vector<const Weights*>& weights,
                                           const std::vector<std::vector<std::string>>& trainable,
                                           const std::vector<std::string>& prefixes);
    // `trainable[i]` are names of weights[i]; prefixes[i] stands in front of them in names().
    Trainer(Engine& engine, const std::vector<const Weights*>& weights,
            const std::vector<std::vector<std::string>>& trainable, const std::vector<std::string>& prefixes);

    Tensor gradient(size_t i) const { return gradients_.tensor(i); }
    // The average of a weight of model i if it trains, else the weight.
    Tensor average_of(const Weights& model, const std::string& name) const;

    // Gradients and moments 0, averages = weights. Once, before anything else.
    void begin(Ops& ops);
    void zero_gradients(Ops& ops);
    // Adds the gradients of all videos; losses f64 [videos] (before gradient_scale).
    void backward(Ops& ops, const Transformer& model, const T5* text_encoder, const std::vector<VideoLoss>& videos,
                  const Tensor& losses);
    // losses f64 [2] = reconstruction, kl
    void backward_vae(Ops& ops, const Vae& model, const VaeLoss& loss, const Tensor& losses);
    // What the dry runs of both depend on.
    PlanKey plan_key(const Transformer& model, const std::vector<VideoLoss>& videos, bool checkpointing) const;
    PlanKey plan_key(const VaeLoss& loss) const;
    // Clip and AdamW; returns f64 [1], the sum of the gradients' squares before clipping. Gradients that are not
    // finite, or too large for the second moments, leave all as it was (clip_coefficient): who reads the sum sees it.
    Tensor update(Ops& ops, const AdamOptions& options);
    // EMA of the weights as they are now.
    void average(Ops& ops, double decay);

    // One file of "weights/…" "first_moments/…" "second_moments/…" "averages/…".
    void save_state(Engine& engine, const std::string& path) const;
    void load_state(Engine& engine, const std::string& path);

private:
    void leaves(Tape& tape, const Weights& gradients) const;
    std::vector<std::pair<std::string, Tensor>> state() const;
    std::vector<std::string> names_;
    std::vector<Tensor> live_;
    Weights gradients_, lane_gradients_, first_, second_, averages_;
};

}  // namespace vin
