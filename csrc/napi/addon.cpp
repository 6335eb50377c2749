// The addon: what binding.ts calls Binding. State per environment is instance data; engines are stopped and joined when
// their environment goes away.
#include <algorithm>

#include "../core/backends.h"
#include "binding.h"

namespace vin {

Environment& environment(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

static int threads_of(const Napi::Object& given) {
    const int threads = static_cast<int>(number(given, "threads", 1));
    if (threads < 1 || threads > 1024) throw invalid("Expected from 1 to 1024 threads but received ", threads);
    return threads;
}

static Napi::Value create_engine(const Napi::CallbackInfo& info) {
    if (!info[0].IsObject()) throw invalid("Expected the options of an engine");
    const Napi::Object given = info[0].As<Napi::Object>();
    EngineOptions options;
    options.device = text(given, "device", "cpu");
    options.threads = threads_of(given);
    options.isa = text(given, "isa", "");
    options.backend_path = text(given, "backendPath", "");
    options.trace = text(given, "trace", "");
    options.memory_budget = static_cast<uint64_t>(number(given, "memoryBudget", 0));
    auto engine = std::make_shared<EngineState>(info.Env(), options);
    auto& engines = environment(info.Env()).engines;
    engines.erase(std::remove_if(engines.begin(), engines.end(),
                                 [](const std::weak_ptr<EngineState>& weak) { return weak.expired(); }),
                  engines.end());
    engines.push_back(engine);
    return wrap_engine(info.Env(), engine);
}

static Napi::Value cpu_features(const Napi::CallbackInfo& info) {
    Napi::Array list = Napi::Array::New(info.Env());
    for (const std::string& isa : cpu_isas()) list.Set(list.Length(), Napi::String::New(info.Env(), isa));
    return list;
}

static Napi::Value measure_peak(const Napi::CallbackInfo& info) {
    if (!info[0].IsObject()) throw invalid("Expected the options of measurePeak");
    const Napi::Object given = info[0].As<Napi::Object>();
    return Napi::Number::New(info.Env(), cpu_peak(text(given, "isa", ""), threads_of(given)));
}

static Napi::Value use_errors(const Napi::CallbackInfo& info) {
    if (!info[0].IsObject()) throw invalid("Expected the classes of errors");
    const Napi::Object given = info[0].As<Napi::Object>();
    const auto weak = [&given](const char* name) {
        const Napi::Value type = given.Get(name);
        if (!type.IsFunction()) throw invalid("Expected a class for ", name);
        return Napi::Weak(type.As<Napi::Function>());
    };
    Environment& own = environment(info.Env());
    own.vin_error = weak("VinError");
    own.range_error = weak("RangeError");
    own.abort_error = weak("DOMException");
    return info.Env().Undefined();
}

static Napi::Value memory_of_process(const Napi::CallbackInfo& info) {
    Napi::Object out = Napi::Object::New(info.Env());
    out.Set("bytes", static_cast<double>(all_bytes()));
    out.Set("handles", static_cast<double>(live_handles()));
    out.Set("engines", static_cast<double>(live_engines()));
    return out;
}

static Napi::Object open(Napi::Env env, Napi::Object exports) {
    auto* own = new Environment();
    env.SetInstanceData(own);
    define_tensor(env);
    define_engine(env);
    define_models(env);
    define_trainer(env);
    env.AddCleanupHook([own] {
        for (const std::weak_ptr<EngineState>& weak : own->engines)
            if (const EngineRef engine = weak.lock()) {
                engine->bridge.close();
                engine->engine.stop();
                engine->bridge.drop();
            }
    });
    exports.Set("useErrors", Napi::Function::New<guarded_function<use_errors>>(env));
    exports.Set("createEngine", Napi::Function::New<guarded_function<create_engine>>(env));
    exports.Set("cpuFeatures", Napi::Function::New<guarded_function<cpu_features>>(env));
    exports.Set("measurePeak", Napi::Function::New<guarded_function<measure_peak>>(env));
    exports.Set("ops", Napi::Function::New<guarded_function<describe_ops>>(env));
    exports.Set("readSafetensors", Napi::Function::New<guarded_function<read_safetensors_js>>(env));
    exports.Set("writeSafetensors", Napi::Function::New<guarded_function<write_safetensors_js>>(env));
    exports.Set("parseJson", Napi::Function::New<guarded_function<parse_json_js>>(env));
    exports.Set("resolveConfig", Napi::Function::New<guarded_function<resolve_config_js>>(env));
    exports.Set("memory", Napi::Function::New<guarded_function<memory_of_process>>(env));
    return exports;
}

}  // namespace vin

static Napi::Object Init(Napi::Env env, Napi::Object exports) { return vin::open(env, exports); }
NODE_API_MODULE(vin_native, Init)
