#include "trainer.h"

#include <algorithm>
#include <cmath>

namespace vin {

// Videos of a step are summed along two lanes that may run at once: video j belongs to lane j mod 2 for any number of threads, so the sum has one order.
static constexpr int64_t lanes_at_most = 2;

static std::vector<WeightSpec> trained_specs(const std::vector<const Weights*>& weights, const std::vector<std::vector<std::string>>& trainable, const std::vector<std::string>& prefixes) {
    std::vector<WeightSpec> specs;
    for (size_t m = 0; m < weights.size(); m++)
        for (const std::string& name : trainable[m]) specs.push_back({prefixes[m] + name, weights[m]->at(name).shape()});
    return specs;
}

Trainer::Trainer(Engine& engine, const std::vector<const Weights*>& weights, const std::vector<std::vector<std::string>>& trainable, const std::vector<std::string>& prefixes)
    : gradients_(engine.memory(), trained_specs(weights, trainable, prefixes)),
      lane_gradients_(engine.memory(), gradients_.specs()),
      first_(engine.memory(), gradients_.specs()),
      second_(engine.memory(), gradients_.specs()),
      averages_(engine.memory(), gradients_.specs()) {
    for (size_t m = 0; m < weights.size(); m++)
        for (const std::string& name : trainable[m]) {
            names_.push_back(prefixes[m] + name);
            live_.push_back(weights[m]->at(name));
        }
}

Tensor Trainer::average_of(const Weights& model, const std::string& name) const {
    const Tensor& weight = model.at(name);
    for (size_t i = 0; i < live_.size(); i++)
        if (live_[i].storage() == weight.storage()) return averages_.tensor(i);
    return weight;
}

void Trainer::leaves(Tape& tape, const Weights& gradients) const {
    for (size_t i = 0; i < live_.size(); i++) tape.leaf(live_[i], gradients.tensor(i));
}

void Trainer::begin(Ops& ops) {
    for (const Weights* block : {&gradients_, &lane_gradients_, &first_, &second_, &averages_}) fill(ops, block->whole(), 0);
    for (size_t i = 0; i < live_.size(); i++) copy_into(ops, averages_.tensor(i), live_[i]);
}

void Trainer::zero_gradients(Ops& ops) { fill(ops, gradients_.whole(), 0); }

void Trainer::backward(Ops& ops, const Transformer& model, const T5* text_encoder, const std::vector<VideoLoss>& videos, const Tensor& losses) {
    ops.training = true;
    const int64_t n = static_cast<int64_t>(videos.size()), lanes = std::min(n, lanes_at_most);
    fill(ops, losses, 0);
    if (lanes > 1) fill(ops, lane_gradients_.whole(), 0);
    parallel_tasks(ops, lanes, [&](Ops& ops, int64_t lane) {
        for (int64_t j = lane; j < n; j += lanes) {
            const VideoLoss& video = videos[static_cast<size_t>(j)];
            Tape tape;
            ops.tape = &tape;
            leaves(tape, lane ? lane_gradients_ : gradients_);
            LossRequest request = video.request;
            if (video.text.null_rows > 0) request.evaluation.text = model.at("y_embedder.y_embedding").slice(0, 0, video.text.null_rows);
            else if (video.text.embeddings) request.evaluation.text = video.text.embeddings;
            else if (text_encoder) request.evaluation.text = text_encoder->encode(ops, video.text.ids);
            else throw Error("VIN_MISSING_COMPONENT", "Expected a text encoder that trains along, or embeddings of the prompt, but neither was given");
            denoise_loss(ops, model, request, losses.slice(0, j, j + 1));
            ops.tape = nullptr;
        }
    });
    if (lanes > 1) add_into(ops, gradients_.whole(), gradients_.whole(), lane_gradients_.whole());
}

void Trainer::backward_vae(Ops& ops, const Vae& model, const VaeLoss& loss, const Tensor& losses) {
    ops.training = true;
    fill(ops, losses, 0);
    Tape tape;
    ops.tape = &tape;
    leaves(tape, gradients_);
    if (loss.latents) vae_decoder_loss(ops, model, loss.latents, loss.pixels, loss.weight, loss.l1, loss.mse, losses);
    else vae_loss(ops, model, loss.pixels, loss.weight, loss.noise, loss.stage, loss.l1, loss.mse, loss.kl, losses);
    tape.run(ops);
    ops.tape = nullptr;
}

void Trainer::sum_squares(Ops& ops, const Tensor& sum_of_squares) const { call(ops, vin_sum_squares_args{sum_of_squares.view(), gradients_.whole().view()}); }

void Trainer::update(Ops& ops, const AdamOptions& o, const Tensor& sum_of_squares) {
    const Tensor clip = ops.empty({1});
    call(ops, vin_clip_coefficient_args{clip.view(), sum_of_squares.view(), o.max_grad_norm});
    const double correction1 = 1 - std::pow(o.beta1, static_cast<double>(o.step)), correction2 = 1 - std::pow(o.beta2, static_cast<double>(o.step));
    for (size_t i = 0; i < live_.size(); i++) {
        call(ops, vin_adamw_args{live_[i].view(), first_.tensor(i).view(), second_.tensor(i).view(), gradients_.tensor(i).view(), clip.view(), o.learning_rates[i], o.beta1, o.beta2, o.eps,
                                 o.weight_decays[i], correction1, correction2});
        call(ops, vin_ema_args{averages_.tensor(i).view(), live_[i].view(), o.ema_decay});
    }
}

}  // namespace vin
