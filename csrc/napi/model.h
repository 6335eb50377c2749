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

Napi::Value weights_to_js(Napi::Env env, const ModelRef& model);
Napi::Value save_model(const Napi::CallbackInfo& info, const ModelRef& model);

template <class Self>
class ModelWrap : public Wrapper<Self, ModelRef> {
public:
    using Wrapper<Self, ModelRef>::Wrapper;
    static constexpr auto what = "a live model";
    static size_t outside_bytes(const ModelRef& model) { return model->model.weights().bytes(); }

    Napi::Value weights(const Napi::CallbackInfo& info) { return weights_to_js(info.Env(), this->held()); }
    Napi::Value weight(const Napi::CallbackInfo& info) {
        const ModelRef& model = this->held();
        return wrap_tensor(info.Env(), model->engine, model->model.weights().at(info[0].ToString().Utf8Value()));
    }
    Napi::Value save(const Napi::CallbackInfo& info) { return save_model(info, this->held()); }
    Napi::Value bytes(const Napi::CallbackInfo& info) {
        return Napi::Number::New(info.Env(), static_cast<double>(outside_bytes(this->held())));
    }

protected:
    using typename Wrapper<Self, ModelRef>::Property;
    // The class with these methods and those of every model.
    static void define_model(Napi::Env env, std::vector<Property> own) {
        own.push_back(Self::template method<&Self::weights>("weights"));
        own.push_back(Self::template method<&Self::weight>("weight"));
        own.push_back(Self::template method<&Self::save>("save"));
        own.push_back(Self::template method<&Self::bytes>("bytes"));
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

    Napi::Value denoise(const Napi::CallbackInfo& info);
    Napi::Value trace(const Napi::CallbackInfo& info);
    Napi::Value forward(const Napi::CallbackInfo& info);
    Napi::Value attention(const Napi::CallbackInfo& info);
    Napi::Value memory(const Napi::CallbackInfo& info);
};

class VaeWrap : public ModelWrap<VaeWrap> {
public:
    static constexpr auto name = "NativeVae";
    static constexpr uint64_t tag = 0x7661650000000001;
    using ModelWrap::ModelWrap;
    static void define(Napi::Env env);

    Napi::Value encode(const Napi::CallbackInfo& info);
    Napi::Value decode(const Napi::CallbackInfo& info);
    Napi::Value decode_pixels(const Napi::CallbackInfo& info);
    Napi::Value memory(const Napi::CallbackInfo& info);
};

class T5Wrap : public ModelWrap<T5Wrap> {
public:
    static constexpr auto name = "NativeT5";
    static constexpr uint64_t tag = 0x7435000000000001;
    using ModelWrap::ModelWrap;
    static void define(Napi::Env env);

    Napi::Value encode(const Napi::CallbackInfo& info);
};

}  // namespace vin
