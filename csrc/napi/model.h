// Models as JavaScript holds them: what they have in common, and the class of each.
#pragma once
#include "../models/load.h"
#include "binding.h"

namespace vin {

struct ModelState {
    EngineRef engine;  // first: released last
    AnyModel model;
};
using ModelRef = std::shared_ptr<ModelState>;

Napi::Object wrap_model(Napi::Env env, const ModelRef& model);
ModelRef unwrap_model(const Napi::Value& value);

// Methods of every model.
Napi::Value weights_js(const Napi::CallbackInfo& info, const ModelRef& model);
Napi::Value weight_js(const Napi::CallbackInfo& info, const ModelRef& model);
Napi::Value save_js(const Napi::CallbackInfo& info, const ModelRef& model);
Napi::Value bytes_js(const Napi::CallbackInfo& info, const ModelRef& model);

// On the engine's thread: a tensor of `shape` that `fill` writes, in memory planned by `key`.
template <class Fill>
Tensor planned(Engine& engine, PlanKey key, const std::shared_ptr<Cancel>& cancel, const Shape& shape,
               const Fill& fill) {
    const Tensor result = Tensor::allocate(engine.memory(), shape);
    engine.planned(std::move(key), cancel.get(), 0, [&](Ops& ops) { fill(ops, result); });
    return result;
}

template <class Self>
class ModelWrap : public Wrapper<Self, ModelRef> {
public:
    using Wrapper<Self, ModelRef>::Wrapper;
    static constexpr auto what = "a live model";
    static size_t outside_bytes(const ModelRef& model) { return model->model.weights().bytes(); }

protected:
    using typename Wrapper<Self, ModelRef>::Property;
    // The class with these methods and those of every model.
    static void define_model(Napi::Env env, std::vector<Property> own) {
        own.push_back(Self::template method<&weights_js>("weights"));
        own.push_back(Self::template method<&weight_js>("weight"));
        own.push_back(Self::template method<&save_js>("save"));
        own.push_back(Self::template method<&bytes_js>("bytes"));
        own.push_back(Self::template method<&Self::dispose>("dispose"));
        Wrapper<Self, ModelRef>::define(env, own);
    }
};

class TransformerWrap : public ModelWrap<TransformerWrap> {
public:
    static constexpr auto name = "NativeTransformer";
    static constexpr uint64_t tag = 0x7472616e73660001;
    using ModelWrap::ModelWrap;
    static void define(Napi::Env env);
};

class VaeWrap : public ModelWrap<VaeWrap> {
public:
    static constexpr auto name = "NativeVae";
    static constexpr uint64_t tag = 0x7661650000000001;
    using ModelWrap::ModelWrap;
    static void define(Napi::Env env);
};

class T5Wrap : public ModelWrap<T5Wrap> {
public:
    static constexpr auto name = "NativeT5";
    static constexpr uint64_t tag = 0x7435000000000001;
    using ModelWrap::ModelWrap;
    static void define(Napi::Env env);
};

}  // namespace vin
