// Trainer as a JavaScript class: gradients of a step, then one update.
#include "../models/trainer.h"

#include "model.h"
#include "request.h"

namespace vin {

struct TrainerState {
    EngineRef engine;  // first: released last
    std::vector<ModelRef> models;
    std::vector<WeightSpec> trained;

    // Made by the first command, since a device may take its time to give memory. Engine thread.
    std::unique_ptr<Trainer> made;
    std::unique_ptr<const Error> failure;
    Trainer& trainer() const {
        if (failure) throw *failure;
        if (!made) throw Error("VIN_DISPOSED", "Expected a live engine for the trainer but it was disposed");
        return *made;
    }
    void begin(const std::function<std::unique_ptr<Trainer>()>& make) {
        try {
            made = make();
            Ops ops = engine->engine.direct(nullptr);
            made->begin(ops);
            return;
        } catch (const Error& error) { failure = std::make_unique<const Error>(error); } catch (const std::bad_alloc&) {
            failure = std::make_unique<const Error>("VIN_OUT_OF_MEMORY", "Expected more memory than the host has");
        }
        made.reset();
        throw *failure;
    }

    // The trained model of a kind, or none.
    template <class Model>
    const Model* find(std::unique_ptr<Model> AnyModel::* kind) const {
        for (const ModelRef& model : models)
            if (model->model.*kind) return (model->model.*kind).get();
        return nullptr;
    }
};
using TrainerRef = std::shared_ptr<TrainerState>;

// One video of a step as JavaScript describes it: its evaluation and what is asked of it.
struct PendingVideo {
    PendingEvaluation evaluation;
    HandleRef target, global_features;
    VideoLoss video;

    VideoLoss resolved() const {  // engine thread
        VideoLoss v = video;
        v.request.evaluation = evaluation.resolved();
        v.request.target = target->value();
        if (global_features) v.request.global_features = global_features->value();
        return v;
    }
};

static PendingVideo video_from_js(const Napi::Object& object, const Transformer& m, const T5* text_encoder) {
    PendingVideo p;
    p.evaluation = evaluation_from_js(object, m, Given::tensors_without_text);
    if (p.evaluation.request.attention.kind != FrameAttention::Kind::whole)
        throw Error("VIN_INVALID", "Expected no attention of its own in training");
    p.target = unwrap_tensor(object.Get("target"), "target");
    if (p.target->shape != p.evaluation.latents.shape)
        throw invalid("Expected a target of shape ", p.evaluation.latents.shape, " but received ", p.target->shape);
    p.video.request.context_loss_weight = number(object, "contextLossWeight", 1);
    p.video.request.gradient_scale = number(object, "lossScale", 1);
    p.video.request.global_feature_weight = number(object, "globalFeatureWeight", 1);
    p.global_features = optional_tensor(object, "globalFeatures");
    if (p.global_features && p.global_features->shape != Shape{m.config.vin.global_features})
        throw invalid("Expected globalFeatures of shape ", Shape{m.config.vin.global_features}, " but received ",
                      p.global_features->shape);
    p.video.null_rows = static_cast<int64_t>(number(object, "nullText", 0));
    if (p.video.null_rows < 0 || p.video.null_rows > m.config.model_max_length)
        throw invalid("Expected nullText from 0 to ", m.config.model_max_length, " but received ", p.video.null_rows);
    if (!has(object, "ids")) return p;
    for (int64_t id : integers(object.Get("ids"), "ids")) {
        if (!text_encoder || id < 0 || id >= text_encoder->config.vocab_size)
            throw invalid("Expected token ids of the trained text encoder but received ", id);
        p.video.ids.push_back(static_cast<int32_t>(id));
    }
    return p;
}

// One micro-batch for the VAE.
struct PendingPixels {
    VaeLoss loss;  // all but the tensors
    HandleRef pixels, weight, noise, latents;

    VaeLoss resolved() const {  // engine thread
        VaeLoss l = loss;
        l.pixels = pixels->value();
        if (weight) l.weight = weight->value();
        if (noise) l.noise = noise->value();
        if (latents) l.latents = latents->value();
        return l;
    }
};

static PendingPixels pixels_from_js(const Napi::Object& object, const VaeConfig& config) {
    PendingPixels p;
    p.pixels = unwrap_tensor(object.Get("pixels"), "pixels");
    const Shape& pixels = p.pixels->shape;
    if (pixels.size() != 4 || pixels[0] != 3)
        throw invalid("Expected pixels of shape [3, T, H, W] but received ", pixels);
    const std::string stage = text(object, "stage", "all");
    if (stage != "spatial" && stage != "temporal" && stage != "decoder" && stage != "all")
        throw invalid("Expected the stage spatial, temporal, decoder or all but received ", stage);
    p.loss.stage = stage == "spatial" ? VaeStage::spatial : stage == "temporal" ? VaeStage::temporal : VaeStage::all;
    const char* given = stage == "decoder" ? "latents" : "noise";
    const HandleRef latents = unwrap_tensor(object.Get(given), given);
    (stage == "decoder" ? p.latents : p.noise) = latents;
    p.weight = optional_tensor(object, "weight");
    const int64_t cell = stage == "temporal" ? VaeConfig::spatial_factor : 1;
    const Shape weight_shape = {pixels[1], pixels[2] / cell, pixels[3] / cell};
    if (p.weight && p.weight->shape != weight_shape)
        throw invalid("Expected a weight of shape ", weight_shape, " but received ", p.weight->shape);
    p.loss.l1 = required_number(object, "l1");
    p.loss.mse = required_number(object, "mse");
    p.loss.kl = required_number(object, "kl");
    const Shape latent_shape = {VaeConfig::latent_channels,
                                stage == "spatial" ? pixels[1] : latent_frames(config, pixels[1]), pixels[2] / 8,
                                pixels[3] / 8};
    if (latents->shape != latent_shape)
        throw invalid("Expected ", given, " of shape ", latent_shape, " but received ", latents->shape);
    return p;
}

static AdamOptions adam_options(const Napi::Object& object, size_t weights) {
    const auto numbers = [&](const char* key) {
        std::vector<double> out;
        for (const Napi::Value& item : items(object.Get(key), key)) out.push_back(item.ToNumber().DoubleValue());
        if (out.size() != weights) throw invalid("Expected one number per trainable weight for ", key);
        return out;
    };
    AdamOptions options;
    options.learning_rates = numbers("learningRates");
    options.weight_decays = numbers("weightDecays");
    options.beta1 = required_number(object, "beta1");
    options.beta2 = required_number(object, "beta2");
    options.eps = required_number(object, "eps");
    options.max_grad_norm = required_number(object, "maxGradNorm");
    options.step = required_integer(object, "step");
    if (options.step < 1) throw invalid("Expected a step of at least 1 but received ", options.step);
    return options;
}

class TrainerWrap : public Wrapper<TrainerWrap, TrainerRef> {
public:
    static constexpr auto name = "NativeTrainer", what = "a live trainer";
    static constexpr uint64_t tag = 0x747261696e650001;
    using Wrapper::Wrapper;

    static void define(Napi::Env env) {
        using T = TrainerWrap;
        Wrapper::define(env,
                        {method<&T::backward>("backward"), method<&T::backward_vae>("backwardVae"),
                         method<&T::zero_gradients>("zeroGradients"), method<&T::names>("names"),
                         method<&T::gradient>("gradient"), method<&T::update>("update"), method<&T::average>("average"),
                         method<&T::save_state>("saveState"), method<&T::load_state>("loadState"),
                         method<&T::save_average>("saveAverage"), method<&T::dispose>("dispose")});
    }

    Napi::Value backward(const Napi::CallbackInfo& info) {
        const TrainerRef state = held();
        const Transformer* model = state->find(&AnyModel::transformer);
        const T5* text = state->find(&AnyModel::t5);
        if (!model) throw invalid("Expected a trainer of a transformer");
        std::vector<PendingVideo> videos;
        for (const Napi::Value& video : items(info[0], "of videos"))
            videos.push_back(video_from_js(video.As<Napi::Object>(), *model, text));
        const Napi::Object options = options_at(info, 1);
        const bool checkpointing = flag(options, "gradientCheckpointing", false);
        const std::shared_ptr<Cancel> cancel = optional_cancel(options);
        const HandleRef losses = new_handle(state->engine, {static_cast<int64_t>(videos.size())}, VIN_DTYPE_F64);
        return submit(info.Env(), losses, cancel, [=](Engine& engine) {
            std::vector<VideoLoss> resolved;
            for (const PendingVideo& p : videos) resolved.push_back(p.resolved());
            const Tensor out = Tensor::allocate(engine.memory(), losses->shape, VIN_DTYPE_F64);
            engine.planned(state->trainer().plan_key(*model, resolved, checkpointing), cancel.get(), 0, [&](Ops& ops) {
                ops.checkpointing = checkpointing;
                state->trainer().backward(ops, *model, text, resolved, out);
            });
            return out;
        });
    }

    Napi::Value backward_vae(const Napi::CallbackInfo& info) {
        const TrainerRef state = held();
        const Vae* model = state->find(&AnyModel::vae);
        if (!model) throw invalid("Expected a trainer of a VAE");
        const Napi::Object object = info[0].As<Napi::Object>();
        const PendingPixels pending = pixels_from_js(object, model->config);
        const std::shared_ptr<Cancel> cancel = optional_cancel(object);
        return submit(info.Env(), new_handle(state->engine, {2}, VIN_DTYPE_F64), cancel, [=](Engine& engine) {
            const VaeLoss loss = pending.resolved();
            const Tensor out = Tensor::allocate(engine.memory(), {2}, VIN_DTYPE_F64);
            engine.planned(state->trainer().plan_key(loss), cancel.get(), 0,
                           [&](Ops& ops) { state->trainer().backward_vae(ops, *model, loss, out); });
            return out;
        });
    }

    Napi::Value zero_gradients(const Napi::CallbackInfo& info) {
        submit(held()->engine, [state = held()] {
            Ops ops = state->engine->engine.direct(nullptr);
            state->trainer().zero_gradients(ops);
        });
        return info.Env().Undefined();
    }
    Napi::Value names(const Napi::CallbackInfo& info) {
        Napi::Array list = Napi::Array::New(info.Env());
        for (const WeightSpec& weight : held()->trained)
            list.Set(list.Length(), Napi::String::New(info.Env(), weight.name));
        return list;
    }
    Napi::Value gradient(const Napi::CallbackInfo& info) {
        const TrainerRef state = held();
        const std::string weight = info[0].ToString().Utf8Value();
        for (size_t i = 0; i < state->trained.size(); i++)
            if (state->trained[i].name == weight)
                return submit(info.Env(), new_handle(state->engine, state->trained[i].shape), nullptr,
                              [=](Engine&) { return state->trainer().gradient(i); });
        throw invalid("Expected the name of a trainable weight but received ", weight);
    }

    Napi::Value update(const Napi::CallbackInfo& info) {
        const TrainerRef state = held();
        const AdamOptions options = adam_options(info[0].As<Napi::Object>(), state->trained.size());
        return submit(info.Env(), new_handle(state->engine, {1}, VIN_DTYPE_F64), nullptr, [=](Engine& engine) {
            Ops ops = engine.direct(nullptr);
            return state->trainer().update(ops, options);
        });
    }
    Napi::Value average(const Napi::CallbackInfo& info) {
        const double decay = info[0].ToNumber().DoubleValue();
        submit(held()->engine, [state = held(), decay] {
            Ops ops = state->engine->engine.direct(nullptr);
            state->trainer().average(ops, decay);
        });
        return info.Env().Undefined();
    }

    Napi::Value save_state(const Napi::CallbackInfo& info) {
        const TrainerRef state = held();
        const std::string path = info[0].ToString().Utf8Value();
        return promise(info.Env(), state->engine, [=] { state->trainer().save_state(state->engine->engine, path); });
    }
    Napi::Value load_state(const Napi::CallbackInfo& info) {
        const TrainerRef state = held();
        const std::string path = info[0].ToString().Utf8Value();
        return promise(info.Env(), state->engine, [=] { state->trainer().load_state(state->engine->engine, path); });
    }
    Napi::Value save_average(const Napi::CallbackInfo& info) {
        const TrainerRef state = held();
        const size_t index = static_cast<size_t>(info[0].ToNumber().Int64Value());
        if (index >= state->models.size()) throw invalid("Expected the index of a trained model but received ", index);
        const std::string path = info[1].ToString().Utf8Value();
        const int32_t dtype = dtype_from_js(text(options_at(info, 2), "dtype", "float32"));
        return promise(info.Env(), state->engine, [=] {
            const Weights& weights = state->models[index]->model.weights();
            save_weights(
                state->engine->engine, weights,
                [&](const WeightSpec& spec) { return state->trainer().average_of(weights, spec.name); }, path, dtype);
        });
    }
};

void define_trainer(Napi::Env env) { TrainerWrap::define(env); }

Napi::Value create_trainer_js(const Napi::CallbackInfo& info, const EngineRef& engine) {
    auto state = std::make_shared<TrainerState>();
    state->engine = engine;
    const Napi::Array models = info[0].As<Napi::Array>(), lists = info[1].As<Napi::Array>();
    std::vector<std::vector<std::string>> trainable;
    std::vector<const Weights*> weights;
    std::vector<std::string> prefixes;
    for (uint32_t i = 0; i < models.Length(); i++) {
        state->models.push_back(unwrap_model(models.Get(i)));
        const AnyModel& model = state->models.back()->model;
        trainable.push_back(strings(lists.Get(i), "trainable"));
        weights.push_back(&model.weights());
        prefixes.push_back(model.t5 ? "text_encoder." : "");
    }
    state->trained = Trainer::trained(weights, trainable, prefixes);
    submit(engine, [=] {
        state->begin([&] { return std::make_unique<Trainer>(state->engine->engine, weights, trainable, prefixes); });
    });
    return TrainerWrap::wrap(info.Env(), state);
}

}  // namespace vin
