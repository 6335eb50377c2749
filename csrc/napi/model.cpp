#include "model.h"

namespace vin {

void define_models(Napi::Env env) {
    TransformerWrap::define(env);
    VaeWrap::define(env);
    T5Wrap::define(env);
}

Napi::Object wrap_model(Napi::Env env, const ModelRef& model) {
    if (model->model.transformer) return TransformerWrap::wrap(env, model);
    return model->model.vae ? VaeWrap::wrap(env, model) : T5Wrap::wrap(env, model);
}

ModelRef unwrap_model(const Napi::Value& value) {
    if (TransformerWrap::is(value)) return TransformerWrap::unwrap(value);
    if (VaeWrap::is(value)) return VaeWrap::unwrap(value);
    if (T5Wrap::is(value)) return T5Wrap::unwrap(value);
    throw invalid("Expected a model of the engine");
}

Napi::Value weights_js(const Napi::CallbackInfo& info, const ModelRef& model) {
    const Napi::Env env = info.Env();
    Napi::Array list = Napi::Array::New(env);
    for (const WeightSpec& spec : model->model.weights().specs()) {
        Napi::Object entry = Napi::Object::New(env);
        entry.Set("name", spec.name);
        entry.Set("shape", shape_to_js(env, spec.shape));
        list.Set(list.Length(), entry);
    }
    return list;
}

Napi::Value weight_js(const Napi::CallbackInfo& info, const ModelRef& model) {
    return wrap_tensor(info.Env(), model->engine, model->model.weights().at(info[0].ToString().Utf8Value()));
}

Napi::Value bytes_js(const Napi::CallbackInfo& info, const ModelRef& model) {
    return Napi::Number::New(info.Env(), static_cast<double>(model->model.weights().bytes()));
}

Napi::Value save_js(const Napi::CallbackInfo& info, const ModelRef& model) {
    const std::string path = info[0].ToString().Utf8Value();
    const int32_t dtype = dtype_from_js(text(options_at(info, 1), "dtype", "float32"));
    return promise(info.Env(), model->engine, [model, path, dtype] {
        const Weights& weights = model->model.weights();
        save_weights(
            model->engine->engine, weights, [&](const WeightSpec& spec) { return weights.at(spec.name); }, path, dtype);
    });
}

static ModelConfig config_from_js(const Napi::CallbackInfo& info, const std::string& file = "config.json") {
    return {info[0].ToString().Utf8Value(), json_from_js(info[1], file), file};
}

Napi::Value resolve_config_js(const Napi::CallbackInfo& info) {
    return json_to_js(info.Env(), resolved_config(config_from_js(info, info[2].ToString().Utf8Value())), true);
}

Napi::Value load_model_js(const Napi::CallbackInfo& info, const EngineRef& engine) {
    const std::vector<std::string> files = strings(info[2], "files");
    if (files.empty()) throw invalid("Expected at least one file of weights");
    const auto config = std::make_shared<const ModelConfig>(config_from_js(info));
    weight_specs(*config);  // a bad configuration fails before anything is queued
    const Napi::Object options = options_at(info, 3);
    const SafetensorsLimits limits = limits_from_js(options);
    const std::shared_ptr<Cancel> cancel = optional_cancel(options);
    const std::vector<std::string> untrained =
        has(options, "untrained") ? strings(options.Get("untrained"), "untrained") : std::vector<std::string>();
    const auto model = std::make_shared<ModelState>();
    model->engine = engine;
    return promise(
        info.Env(), engine,
        [=] { model->model = load_model(engine->engine, *config, files, limits, untrained, cancel.get()); }, cancel,
        [model](Napi::Env env) -> Napi::Value { return wrap_model(env, model); });
}

Napi::Value create_model_js(const Napi::CallbackInfo& info, const EngineRef& engine) {
    bool lossless = true;
    const uint64_t seed = info[2].IsBigInt() ? info[2].As<Napi::BigInt>().Uint64Value(&lossless)
                                             : static_cast<uint64_t>(info[2].ToNumber().Int64Value());
    const auto config = std::make_shared<const ModelConfig>(config_from_js(info));
    weight_specs(*config);  // as above
    const auto model = std::make_shared<ModelState>();
    model->engine = engine;
    return promise(
        info.Env(), engine,
        [=] {
            model->model = new_model(engine->engine, *config);
            initialise(engine->engine, model->model.weights(), seed);
        },
        nullptr, [model](Napi::Env env) -> Napi::Value { return wrap_model(env, model); });
}

}  // namespace vin
