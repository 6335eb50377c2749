#include "trainer.h"

#include <algorithm>
#include <cmath>

#include "load.h"

namespace vin {

// Batches of a step are summed along two lanes that may run at once. Which videos form a batch, and which lane takes
// it, follows from the step alone and not from the number of threads, so the sum has one order.
static constexpr int64_t lanes_at_most = 2;

// Videos of one shape are evaluated as one batch until a chunk has so many rows: a matrix product with fewer is far
// from the peak, one with more wins little and holds more memory. Videos of more rows are alone.
static constexpr int64_t rows_at_once = 1024;

std::vector<WeightSpec> Trainer::trained(const std::vector<const Weights*>& weights,
                                         const std::vector<std::vector<std::string>>& trainable,
                                         const std::vector<std::string>& prefixes) {
    std::vector<WeightSpec> specs;
    for (size_t m = 0; m < weights.size(); m++)
        for (const std::string& name : trainable[m])
            specs.push_back({prefixes[m] + name, weights[m]->at(name).shape()});
    return specs;
}

Trainer::Trainer(Engine& engine, const std::vector<const Weights*>& weights,
                 const std::vector<std::vector<std::string>>& trainable, const std::vector<std::string>& prefixes)
    : gradients_(engine.memory(), trained(weights, trainable, prefixes)),
      lane_gradients_(engine.memory(), gradients_.specs()), first_(engine.memory(), gradients_.specs()),
      second_(engine.memory(), gradients_.specs()), averages_(engine.memory(), gradients_.specs()) {
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
    for (const Weights* block : {&gradients_, &lane_gradients_, &first_, &second_, &averages_})
        fill(ops, block->whole(), 0);
    for (size_t i = 0; i < live_.size(); i++) copy_into(ops, averages_.tensor(i), live_[i]);
}

void Trainer::zero_gradients(Ops& ops) { fill(ops, gradients_.whole(), 0); }

// Rows of a video's text, and where it comes from: those of a batch agree.
static std::pair<int, int64_t> text_kind(const VideoLoss& video) {
    if (video.null_rows > 0) return {0, video.null_rows};
    if (video.request.evaluation.text) return {1, video.request.evaluation.text.size(0)};
    return {2, static_cast<int64_t>(video.ids.size())};
}

// Indices of the videos of each batch, in the order of its first video.
static std::vector<std::vector<size_t>> batches_of(const Transformer& model, const std::vector<VideoLoss>& videos) {
    std::vector<std::vector<size_t>> batches;
    for (size_t j = 0; j < videos.size(); j++) {
        const DenoiseRequest& request = videos[j].request.evaluation;
        const size_t most =
            static_cast<size_t>(std::max<int64_t>(1, rows_at_once / std::max<int64_t>(1, chunk_rows(model, request))));
        const auto fits = [&](const std::vector<size_t>& batch) {
            const VideoLoss& first = videos[batch.front()];
            return batch.size() < most && text_kind(first) == text_kind(videos[j]) &&
                   same_shape(first.request.evaluation, request);
        };
        const auto found = std::find_if(batches.begin(), batches.end(), fits);
        if (found == batches.end())
            batches.push_back({j});
        else
            found->push_back(j);
    }
    return batches;
}

// [B, L, D]
static Tensor text_of(Ops& ops, const Transformer& model, const T5* text_encoder, const std::vector<VideoLoss>& videos,
                      const std::vector<size_t>& batch) {
    const VideoLoss& first = videos[batch.front()];
    const int64_t B = static_cast<int64_t>(batch.size());
    if (first.null_rows == 0 && !first.request.evaluation.text) {
        if (!text_encoder)
            throw Error(
                "VIN_MISSING_COMPONENT",
                "Expected a text encoder that trains along, or embeddings of the prompt, but neither was given");
        std::vector<int32_t> ids;
        for (size_t j : batch) ids.insert(ids.end(), videos[j].ids.begin(), videos[j].ids.end());
        return text_encoder->encode(ops, constant(ops, ids, {B, static_cast<int64_t>(first.ids.size())}));
    }
    std::vector<Tensor> texts;
    for (size_t j : batch)
        texts.push_back(one_of_batch(first.null_rows > 0 ? model.y_embedding.slice(0, 0, first.null_rows)
                                                         : videos[j].request.evaluation.text));
    return B == 1 ? texts.front() : concatenate(ops, texts);
}

void Trainer::backward(Ops& ops, const Transformer& model, const T5* text_encoder, const std::vector<VideoLoss>& videos,
                       const Tensor& losses) {
    ops.training = true;
    const std::vector<std::vector<size_t>> batches = batches_of(model, videos);
    // Each batch goes to the lane that has less to do so far.
    std::vector<std::vector<size_t>> lanes(
        static_cast<size_t>(std::min<int64_t>(static_cast<int64_t>(batches.size()), lanes_at_most)));
    std::vector<int64_t> work(lanes.size(), 0);
    for (size_t i = 0; i < batches.size(); i++) {
        const size_t lane = static_cast<size_t>(std::min_element(work.begin(), work.end()) - work.begin());
        lanes[lane].push_back(i);
        for (size_t j : batches[i]) work[lane] += videos[j].request.evaluation.latents.numel();
    }
    fill(ops, losses, 0);
    if (lanes.size() > 1) fill(ops, lane_gradients_.whole(), 0);
    parallel_tasks(ops, static_cast<int64_t>(lanes.size()), [&](Ops& ops, int64_t lane) {
        for (size_t i : lanes[static_cast<size_t>(lane)]) {
            Tape tape;
            ops.tape = &tape;
            leaves(tape, lane ? lane_gradients_ : gradients_);
            std::vector<LossRequest> batch;
            std::vector<Tensor> batch_losses;
            for (size_t j : batches[i]) {
                batch.push_back(videos[j].request);
                batch_losses.push_back(losses.slice(0, static_cast<int64_t>(j), static_cast<int64_t>(j) + 1));
            }
            denoise_loss(ops, model, batch, text_of(ops, model, text_encoder, videos, batches[i]), batch_losses);
            ops.tape = nullptr;
        }
    });
    if (lanes.size() > 1) add_into(ops, gradients_.whole(), gradients_.whole(), lane_gradients_.whole());
}

void Trainer::backward_vae(Ops& ops, const Vae& model, const VaeLoss& loss, const Tensor& losses) {
    ops.training = true;
    fill(ops, losses, 0);
    Tape tape;
    ops.tape = &tape;
    leaves(tape, gradients_);
    if (loss.latents)
        vae_decoder_loss(ops, model, loss.latents, loss.pixels, loss.weight, loss.l1, loss.mse, losses);
    else
        vae_loss(ops, model, loss.pixels, loss.weight, loss.noise, loss.stage, loss.l1, loss.mse, loss.kl, losses);
    tape.run(ops);
    ops.tape = nullptr;
}

PlanKey Trainer::plan_key(const Transformer& model, const std::vector<VideoLoss>& videos, bool checkpointing) const {
    PlanKey key("backward", gradients_.id());
    key.add(checkpointing);
    for (const VideoLoss& video : videos) {
        const DenoiseRequest& request = video.request.evaluation;
        key.add(vin::plan_key(model, request)).add(video.request.target).add(request.anchor >= 0);
        key.add(video.request.global_features);
        key.add(static_cast<int64_t>(video.ids.size())).add(video.null_rows);
    }
    for (const std::vector<size_t>& batch : batches_of(model, videos)) key.add(batch);
    return key;
}

PlanKey Trainer::plan_key(const VaeLoss& loss) const {
    PlanKey key("backwardVae", gradients_.id());
    key.add(loss.pixels).add(loss.weight).add(loss.noise).add(loss.latents).add(static_cast<int64_t>(loss.stage));
    return key.add(loss.l1 != 0).add(loss.mse != 0).add(loss.kl != 0);
}

Tensor Trainer::update(Ops& ops, const AdamOptions& o) {
    const Tensor sum = ops.empty({1}, VIN_DTYPE_F64), clip = ops.empty({1});
    call(ops, vin_sum_squares_args{sum.view(), gradients_.whole().view()});
    call(ops, vin_clip_coefficient_args{clip.view(), sum.view(), o.max_grad_norm});
    const double correction1 = 1 - std::pow(o.beta1, static_cast<double>(o.step)),
                 correction2 = 1 - std::pow(o.beta2, static_cast<double>(o.step));
    for (size_t i = 0; i < live_.size(); i++)
        call(ops, vin_adamw_args{live_[i].view(), first_.tensor(i).view(), second_.tensor(i).view(),
                                 gradients_.tensor(i).view(), clip.view(), o.learning_rates[i], o.beta1, o.beta2, o.eps,
                                 o.weight_decays[i], correction1, correction2});
    return sum;
}

void Trainer::average(Ops& ops, double decay) {
    for (size_t i = 0; i < live_.size(); i++)
        call(ops, vin_ema_args{averages_.tensor(i).view(), live_[i].view(), decay});
}

std::vector<std::pair<std::string, Tensor>> Trainer::state() const {
    std::vector<std::pair<std::string, Tensor>> list;
    for (size_t i = 0; i < names_.size(); i++) {
        list.push_back({"weights/" + names_[i], live_[i]});
        list.push_back({"first_moments/" + names_[i], first_.tensor(i)});
        list.push_back({"second_moments/" + names_[i], second_.tensor(i)});
        list.push_back({"averages/" + names_[i], averages_.tensor(i)});
    }
    return list;
}

void Trainer::save_state(Engine& engine, const std::string& path) const {
    std::vector<TensorToWrite> entries;
    for (const auto& item : state()) {
        TensorToWrite entry;
        entry.name = item.first;
        entry.shape = item.second.shape();
        entry.values = finite_values(engine, item.second, item.first);
        entries.push_back(std::move(entry));
    }
    write_safetensors(path, std::move(entries));
}

void Trainer::load_state(Engine& engine, const std::string& path) {
    const auto items = state();
    SafetensorsLimits limits;
    limits.tensors = items.size() + 1;
    const SafetensorsSet set = SafetensorsSet::open({path}, limits);
    std::vector<ExpectedWeight> expected;
    for (const auto& item : items) expected.push_back({item.first, item.second.shape()});
    check_weights(set, expected, {});
    std::vector<float> staging;
    for (const auto& item : items) {
        staging.resize(static_cast<size_t>(item.second.numel()));
        set.read_tensor(item.first, staging.data());
        engine.upload(item.second.view().data, staging.data(), staging.size() * 4);
    }
}

}  // namespace vin
