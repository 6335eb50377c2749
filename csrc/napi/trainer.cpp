// Trainer as a JavaScript class: gradients of a step, then one update.
#include "../models/trainer.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "../core/safetensors.h"
#include "model.h"

namespace vin {

struct TrainerState {
    EngineRef engine;  // first: released last
    std::vector<ModelRef> models;
    std::unique_ptr<Trainer> trainer;

    const AnyModel* of(const char* kind) const {
        for (const ModelRef& model : models)
            if (model->kind == kind) return model.get();
        return nullptr;
    }
};
using TrainerRef = std::shared_ptr<TrainerState>;

// One video of a step as JavaScript describes it: its evaluation and what is asked of it.
struct PendingVideo {
    PendingEvaluation evaluation;
    HandleRef target;
    VideoLoss video;

    VideoLoss resolved() const {  // engine thread
        VideoLoss v = video;
        v.request.evaluation = evaluation.resolved();
        v.request.target = target->value();
        return v;
    }
};

static PendingVideo video_from_js(const Napi::Object& object, const Transformer& m, const T5* text_encoder) {
    PendingVideo p;
    p.evaluation = evaluation_from_js(object, m, Given::tensors_without_text);
    p.target = unwrap_tensor(object.Get("target"), "target");
    if (p.target->shape != p.evaluation.latents.shape)
        throw Error("VIN_INVALID", "Expected a target of shape " + to_string(p.evaluation.latents.shape) +
                                       " but received " + to_string(p.target->shape));
    p.video.request.context_loss_weight = number(object, "contextLossWeight", 1);
    p.video.request.gradient_scale = number(object, "lossScale", 1);
    p.video.null_rows = static_cast<int64_t>(number(object, "nullText", 0));
    if (p.video.null_rows < 0 || p.video.null_rows > m.config.model_max_length)
        throw Error("VIN_INVALID", "Expected nullText from 0 to " + std::to_string(m.config.model_max_length) +
                                       " but received " + std::to_string(p.video.null_rows));
    if (!has(object, "ids")) return p;
    for (int64_t id : integers(object.Get("ids"), "ids")) {
        if (!text_encoder || id < 0 || id >= text_encoder->config.vocab_size)
            throw Error("VIN_INVALID",
                        "Expected token ids of the trained text encoder but received " + std::to_string(id));
        p.video.ids.push_back(static_cast<int32_t>(id));
    }
    return p;
}

// Before an update touches anything: gradients are finite, and the second moments hold their squares.
static void check_gradients(Engine& engine, const Trainer& trainer, double norm, double max_norm) {
    const double clipped = max_norm > 0 ? std::min(norm, max_norm) : norm;
    if (std::isfinite(norm) && clipped <= std::sqrt(static_cast<double>(std::numeric_limits<float>::max()))) return;
    if (std::isfinite(norm))
        throw Error("VIN_NONFINITE", "Expected gradients whose squares float32 holds but their norm is " +
                                         std::to_string(norm) +
                                         ", weights are as before; set maxGradNorm or lower the learning rate");
    Ops ops = engine.direct(nullptr);
    std::string name;
    for (size_t i = 0; i < trainer.names().size() && name.empty(); i++) {
        const Tensor sum = ops.empty({1}, VIN_DTYPE_F64);
        call(ops, vin_sum_squares_args{sum.view(), trainer.gradient(i).view()});
        double value = 0;
        engine.download(&value, sum.view().data, sizeof value);
        if (!std::isfinite(value)) name = trainer.names()[i];
    }
    throw Error(
        "VIN_NONFINITE",
        "Expected finite gradients but that of " + name +
            " holds NaN or Inf, weights are as before; lower the learning rate or leave out the videos of this step",
        {{"weight", name}});
}

class TrainerWrap : public Napi::ObjectWrap<TrainerWrap> {
public:
    explicit TrainerWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<TrainerWrap>(info) {
        if (info.Length() != 1 || !info[0].IsExternal())
            throw Napi::TypeError::New(info.Env(), "Expected a trainer to be made by an engine");
        state_ = *info[0].As<Napi::External<TrainerRef>>().Data();
    }
    const TrainerRef& state() const {
        if (!state_) throw Error("VIN_DISPOSED", "Expected a live trainer but it was disposed");
        return state_;
    }

    Napi::Value backward(const Napi::CallbackInfo& info) {
        return guarded(info.Env(), [&]() -> Napi::Value {
            const TrainerRef state = this->state();
            const AnyModel *model = state->of("transformer"), *text = state->of("t5");
            if (!model) throw Error("VIN_INVALID", "Expected a trainer of a transformer");
            auto videos = std::make_shared<std::vector<PendingVideo>>();
            const Napi::Array array = info[0].As<Napi::Array>();
            for (uint32_t i = 0; i < array.Length(); i++)
                videos->push_back(video_from_js(array.Get(i).As<Napi::Object>(), *model->transformer,
                                                text ? text->t5.get() : nullptr));
            const Napi::Object options = info[1].As<Napi::Object>();
            const bool checkpointing = flag(options, "gradientCheckpointing", false);
            const std::shared_ptr<Cancel> cancel = optional_cancel(options);
            const HandleRef losses = new_handle(state->engine, {static_cast<int64_t>(videos->size())}, VIN_DTYPE_F64);
            Command command;
            command.outputs = {losses};
            command.cancel = cancel;
            command.work = [=] {
                Engine& engine = state->engine->engine;
                std::vector<VideoLoss> resolved;
                for (const PendingVideo& p : *videos) resolved.push_back(p.resolved());
                const Tensor out = Tensor::allocate(engine.memory(), losses->shape, VIN_DTYPE_F64);
                engine.planned(cancel.get(), 0, [&](Ops& ops) {
                    ops.checkpointing = checkpointing;
                    state->trainer->backward(ops, *model->transformer, text ? text->t5.get() : nullptr, resolved, out);
                });
                losses->tensor = out;
            };
            submit(state->engine, std::move(command));
            return wrap_tensor(info.Env(), losses);
        });
    }

    Napi::Value backward_vae(const Napi::CallbackInfo& info) {
        return guarded(info.Env(), [&]() -> Napi::Value {
            const TrainerRef state = this->state();
            const AnyModel* model = state->of("vae");
            if (!model) throw Error("VIN_INVALID", "Expected a trainer of a VAE");
            const Napi::Object object = info[0].As<Napi::Object>();
            const HandleRef pixels = unwrap_tensor(object.Get("pixels"), "pixels"),
                            weight = optional_tensor(object, "weight");
            const Shape& p = pixels->shape;
            if (p.size() != 4 || p[0] != 3)
                throw Error("VIN_INVALID", "Expected pixels of shape [3, T, H, W] but received " + to_string(p));
            const std::string name = text(object, "stage", "all");
            if (name != "spatial" && name != "temporal" && name != "decoder" && name != "all")
                throw Error("VIN_INVALID", "Expected the stage spatial, temporal, decoder or all but received " + name);
            const std::string given = name == "decoder" ? "latents" : "noise";
            const HandleRef latents = unwrap_tensor(object.Get(given), given.c_str());
            const VaeStage stage = name == "spatial"    ? VaeStage::spatial
                                   : name == "temporal" ? VaeStage::temporal
                                                        : VaeStage::all;
            const int64_t cell = stage == VaeStage::temporal ? VaeConfig::spatial_factor : 1;
            const Shape weight_shape = {p[1], p[2] / cell, p[3] / cell};
            if (weight && weight->shape != weight_shape)
                throw Error("VIN_INVALID", "Expected a weight of shape " + to_string(weight_shape) + " but received " +
                                               to_string(weight->shape));
            const VaeLoss scalars{{},
                                  {},
                                  {},
                                  {},
                                  stage,
                                  required_number(object, "l1"),
                                  required_number(object, "mse"),
                                  required_number(object, "kl")};
            const Shape shape = {VaeConfig::latent_channels,
                                 stage == VaeStage::spatial ? p[1] : latent_frames(model->vae->config, p[1]), p[2] / 8,
                                 p[3] / 8};
            if (latents->shape != shape)
                throw Error("VIN_INVALID", "Expected " + given + " of shape " + to_string(shape) + " but received " +
                                               to_string(latents->shape));
            const std::shared_ptr<Cancel> cancel = optional_cancel(object);
            const HandleRef losses = new_handle(state->engine, {2}, VIN_DTYPE_F64);
            Command command;
            command.outputs = {losses};
            command.cancel = cancel;
            command.work = [=] {
                Engine& engine = state->engine->engine;
                VaeLoss loss = scalars;
                loss.pixels = pixels->value();
                if (weight) loss.weight = weight->value();
                (given == "noise" ? loss.noise : loss.latents) = latents->value();
                const Tensor out = Tensor::allocate(engine.memory(), {2}, VIN_DTYPE_F64);
                engine.planned(cancel.get(), 0,
                               [&](Ops& ops) { state->trainer->backward_vae(ops, *model->vae, loss, out); });
                losses->tensor = out;
            };
            submit(state->engine, std::move(command));
            return wrap_tensor(info.Env(), losses);
        });
    }

    Napi::Value zero_gradients(const Napi::CallbackInfo& info) {
        return guarded(info.Env(), [&]() -> Napi::Value {
            const TrainerRef state = this->state();
            Command command;
            command.work = [state] {
                Ops ops = state->engine->engine.direct(nullptr);
                state->trainer->zero_gradients(ops);
            };
            submit(state->engine, std::move(command));
            return info.Env().Undefined();
        });
    }
    Napi::Value names(const Napi::CallbackInfo& info) {
        return guarded(info.Env(), [&]() -> Napi::Value {
            Napi::Array list = Napi::Array::New(info.Env());
            for (const std::string& name : state()->trainer->names())
                list.Set(list.Length(), Napi::String::New(info.Env(), name));
            return list;
        });
    }
    Napi::Value gradient(const Napi::CallbackInfo& info) {
        return guarded(info.Env(), [&]() -> Napi::Value {
            const std::string name = info[0].ToString().Utf8Value();
            const std::vector<std::string>& names = state()->trainer->names();
            for (size_t i = 0; i < names.size(); i++) {
                if (names[i] != name) continue;
                const Tensor tensor = state()->trainer->gradient(i);
                const HandleRef handle = new_handle(state()->engine, tensor.shape());
                handle->tensor = tensor;
                return wrap_tensor(info.Env(), handle);
            }
            throw Error("VIN_INVALID", "Expected the name of a trainable weight but received " + name);
        });
    }

    Napi::Value update(const Napi::CallbackInfo& info) {
        return guarded(info.Env(), [&]() -> Napi::Value {
            const TrainerRef state = this->state();
            const Napi::Object object = info[0].As<Napi::Object>();
            const auto numbers = [&](const char* key) {
                std::vector<double> out;
                const Napi::Array array = object.Get(key).As<Napi::Array>();
                for (uint32_t i = 0; i < array.Length(); i++) out.push_back(array.Get(i).ToNumber().DoubleValue());
                if (out.size() != state->trainer->names().size())
                    throw Error("VIN_INVALID", "Expected one number per trainable weight for " + std::string(key));
                return out;
            };
            AdamOptions options;
            options.learning_rates = numbers("learningRates");
            options.weight_decays = numbers("weightDecays");
            options.beta1 = required_number(object, "beta1");
            options.beta2 = required_number(object, "beta2");
            options.eps = required_number(object, "eps");
            options.max_grad_norm = required_number(object, "maxGradNorm");
            options.ema_decay = required_number(object, "emaDecay");
            options.step = static_cast<int64_t>(required_number(object, "step"));
            if (options.step < 1)
                throw Error("VIN_INVALID",
                            "Expected a step of at least 1 but received " + std::to_string(options.step));
            const HandleRef norm = new_handle(state->engine, {1}, VIN_DTYPE_F64);
            Command command;
            command.outputs = {norm};
            command.work = [=] {
                Engine& engine = state->engine->engine;
                Ops ops = engine.direct(nullptr);
                const Tensor sum = ops.empty({1}, VIN_DTYPE_F64);
                state->trainer->sum_squares(ops, sum);
                double value = 0;
                engine.download(&value, sum.view().data, sizeof value);
                value = std::sqrt(value);
                check_gradients(engine, *state->trainer, value, options.max_grad_norm);
                state->trainer->update(ops, options, sum);
                engine.upload(sum.view().data, &value, sizeof value);
                norm->tensor = sum;
            };
            submit(state->engine, std::move(command));
            return wrap_tensor(info.Env(), norm);
        });
    }

    // Names of a state file: "weights/…" "first_moments/…" "second_moments/…" "averages/…".
    static std::vector<std::pair<std::string, Tensor>> state_tensors(const Trainer& trainer) {
        std::vector<std::pair<std::string, Tensor>> list;
        for (size_t i = 0; i < trainer.names().size(); i++) {
            const std::string& name = trainer.names()[i];
            list.push_back({"weights/" + name, trainer.weight(i)});
            list.push_back({"first_moments/" + name, trainer.first_moment(i)});
            list.push_back({"second_moments/" + name, trainer.second_moment(i)});
            list.push_back({"averages/" + name, trainer.average(i)});
        }
        return list;
    }
    Napi::Value save_state(const Napi::CallbackInfo& info) {
        return guarded(info.Env(), [&]() -> Napi::Value {
            const TrainerRef state = this->state();
            const std::string path = info[0].ToString().Utf8Value();
            return promise(
                info.Env(), state->engine, nullptr,
                [state, path] {
                    Engine& engine = state->engine->engine;
                    std::vector<TensorToWrite> entries;
                    for (const auto& item : state_tensors(*state->trainer)) {
                        TensorToWrite entry;
                        entry.name = item.first;
                        entry.shape = item.second.shape();
                        entry.values = finite_values(engine, item.second, item.first);
                        entries.push_back(std::move(entry));
                    }
                    write_safetensors(path, std::move(entries));
                },
                nullptr);
        });
    }
    Napi::Value load_state(const Napi::CallbackInfo& info) {
        return guarded(info.Env(), [&]() -> Napi::Value {
            const TrainerRef state = this->state();
            const std::string path = info[0].ToString().Utf8Value();
            return promise(
                info.Env(), state->engine, nullptr,
                [state, path] {
                    Engine& engine = state->engine->engine;
                    const auto items = state_tensors(*state->trainer);
                    SafetensorsLimits limits;
                    limits.tensors = items.size() + 1;
                    const SafetensorsSet set = SafetensorsSet::open(path, limits);
                    std::vector<ExpectedWeight> expected;
                    for (const auto& item : items) expected.push_back({item.first, item.second.shape()});
                    check_weights(set, expected, {});
                    std::vector<float> staging;
                    for (const auto& item : items) {
                        staging.resize(static_cast<size_t>(item.second.numel()));
                        set.read_tensor(item.first, staging.data());
                        engine.upload(item.second.view().data, staging.data(), staging.size() * 4);
                    }
                },
                nullptr);
        });
    }
    Napi::Value save_average(const Napi::CallbackInfo& info) {
        return guarded(info.Env(), [&]() -> Napi::Value {
            const TrainerRef state = this->state();
            const size_t index = static_cast<size_t>(info[0].ToNumber().Int64Value());
            if (index >= state->models.size())
                throw Error("VIN_INVALID",
                            "Expected the index of a trained model but received " + std::to_string(index));
            const std::string path = info[1].ToString().Utf8Value();
            const int32_t dtype = dtype_from_js(text(info[2].As<Napi::Object>(), "dtype", "float32"));
            return promise(
                info.Env(), state->engine, nullptr,
                [=] {
                    const Weights& weights = state->models[index]->weights();
                    save_weights(
                        state->engine->engine, weights, "",
                        [&](const WeightSpec& spec) { return state->trainer->average_of(weights, spec.name); }, path,
                        dtype);
                },
                nullptr);
        });
    }
    Napi::Value dispose(const Napi::CallbackInfo& info) {
        state_.reset();
        return info.Env().Undefined();
    }

private:
    TrainerRef state_;
};

Napi::Function define_trainer(Napi::Env env) {
    using T = TrainerWrap;
    return T::DefineClass(
        env, "NativeTrainer",
        {T::InstanceMethod<&T::backward>("backward"), T::InstanceMethod<&T::backward_vae>("backwardVae"),
         T::InstanceMethod<&T::zero_gradients>("zeroGradients"), T::InstanceMethod<&T::names>("names"),
         T::InstanceMethod<&T::gradient>("gradient"), T::InstanceMethod<&T::update>("update"),
         T::InstanceMethod<&T::save_state>("saveState"), T::InstanceMethod<&T::load_state>("loadState"),
         T::InstanceMethod<&T::save_average>("saveAverage"), T::InstanceMethod<&T::dispose>("dispose")});
}

Napi::Value create_trainer(const Napi::CallbackInfo& info, const EngineRef& engine) {
    auto state = std::make_shared<TrainerState>();
    state->engine = engine;
    const Napi::Array models = info[0].As<Napi::Array>(), lists = info[1].As<Napi::Array>();
    std::vector<std::vector<std::string>> trainable;
    std::vector<const Weights*> weights;
    std::vector<std::string> prefixes;
    for (uint32_t i = 0; i < models.Length(); i++) {
        state->models.push_back(unwrap_model(models.Get(i)));
        trainable.push_back(strings(lists.Get(i), "trainable"));
        weights.push_back(&state->models.back()->weights());
        prefixes.push_back(state->models.back()->kind == "t5" ? "text_encoder." : "");
    }
    state->trainer = std::make_unique<Trainer>(engine->engine, weights, trainable, prefixes);
    Command command;
    command.work = [state] {
        Ops ops = state->engine->engine.direct(nullptr);
        state->trainer->begin(ops);
    };
    submit(engine, std::move(command));
    return classes(info.Env()).trainer.New({Napi::External<TrainerRef>::New(info.Env(), &state)});
}

}  // namespace vin
