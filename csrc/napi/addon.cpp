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

static EngineOptions engine_options(const Napi::CallbackInfo& info) {
    if (!info[0].IsObject()) throw invalid("Expected the options of an engine");
    const Napi::Object given = info[0].As<Napi::Object>();
    EngineOptions options;
    options.device = text(given, "device", "cpu");
    options.threads = threads_of(given);
    options.isa = text(given, "isa", "");
    options.backend_path = text(given, "backendPath", "");
    options.trace = text(given, "trace", "");
    options.memory_budget = static_cast<uint64_t>(number(given, "memoryBudget", 0));
    return options;
}

// An engine that this environment has opened.
static Napi::Object own_engine(Napi::Env env, const EngineRef& engine) {
    auto& engines = environment(env).engines;
    engines.erase(std::remove_if(engines.begin(), engines.end(),
                                 [](const std::weak_ptr<EngineState>& weak) { return weak.expired(); }),
                  engines.end());
    engines.push_back(engine);
    return wrap_engine(env, engine);
}

static Napi::Value create_engine(const Napi::CallbackInfo& info) {
    const EngineOptions options = engine_options(info);
    return own_engine(info.Env(), std::make_shared<EngineState>(std::make_shared<Bridge>(info.Env()), options));
}

static void end_opening(Napi::Env env, const std::shared_ptr<Opening>& opening) {
    opening->thread.join();
    auto& openings = environment(env).openings;
    openings.erase(std::find(openings.begin(), openings.end(), opening));
}

static Napi::Value open_engine(const Napi::CallbackInfo& info) {
    const EngineOptions options = engine_options(info);
    auto opening = std::make_shared<Opening>();
    opening->bridge = std::make_shared<Bridge>(info.Env());
    const auto deferred = std::make_shared<Napi::Promise::Deferred>(info.Env());
    const auto settle = [opening, deferred](Napi::Env env) {
        end_opening(env, opening);
        if (opening->failure)
            deferred->Reject(to_js(env, *opening->failure).Value());
        else
            deferred->Resolve(own_engine(env, std::exchange(opening->engine, nullptr)));
    };
    opening->bridge->begin();
    try {
        opening->thread =
            std::thread([opening = opening.get(), options, way = std::make_unique<Bridge::Settle>(settle)]() mutable {
                try {
                    opening->engine = std::make_shared<EngineState>(opening->bridge, options);
                } catch (const Error& error) {
                    opening->failure = std::make_shared<const Error>(error);
                } catch (const std::exception& error) {
                    opening->failure = std::make_shared<const Error>(
                        "VIN_OUT_OF_MEMORY", concat("Expected to open an engine but ", std::string(error.what())));
                }
                opening->bridge->post(std::move(way));
            });
    } catch (const std::system_error&) {
        throw Error("VIN_OUT_OF_MEMORY",
                    "Expected a thread to open the device but the system gives none; raise the limit of processes "
                    "(ulimit -u, or pids of the container)");
    }
    environment(info.Env()).openings.push_back(opening);
    return deferred->Promise();
}

Napi::Object device_to_js(Napi::Env env, const vin_device_info& device) {
    Napi::Object out = Napi::Object::New(env);
    out.Set("name", device.name);
    out.Set("uuid", device.uuid);
    out.Set("arch", device.arch);
    out.Set("driver", device.driver);
    out.Set("multiprocessors", device.multiprocessors);
    out.Set("totalBytes", static_cast<double>(device.total_bytes));
    out.Set("freeBytes", static_cast<double>(device.free_bytes));
    return out;
}

static Napi::Value describe_backend(const Napi::CallbackInfo& info) {
    if (!info[0].IsObject()) throw invalid("Expected the options of describeBackend");
    const Napi::Object given = info[0].As<Napi::Object>();
    const std::string path = text(given, "backendPath", "");
    const vin_backend backend = open_plugin(host_functions, path);
    Napi::Object out = Napi::Object::New(info.Env());
    out.Set("name", backend.name);
    out.Set("build", backend.build);
    int32_t count = 0;
    vin_status status = backend.device_count(&count);
    if (status != VIN_OK) throw refusal(backend, status, path);
    Napi::Array devices = Napi::Array::New(info.Env());
    for (int32_t ordinal = 0; ordinal < count; ordinal++) {
        vin_device_info device = {};
        status = backend.device_info(ordinal, &device);
        if (status != VIN_OK) throw refusal(backend, status, path);
        devices.Set(devices.Length(), device_to_js(info.Env(), device));
    }
    out.Set("devices", devices);
    return out;
}

static Napi::Array strings_to_js(Napi::Env env, const std::vector<std::string>& strings) {
    Napi::Array list = Napi::Array::New(env);
    for (const std::string& each : strings) list.Set(list.Length(), Napi::String::New(env, each));
    return list;
}

static Napi::Value libraries_named(const Napi::CallbackInfo& info) {
    if (!info[0].IsString()) throw invalid("Expected the name of a library");
    return strings_to_js(info.Env(), find_library(info[0].As<Napi::String>().Utf8Value()));
}

static Napi::Value cpu_features(const Napi::CallbackInfo& info) { return strings_to_js(info.Env(), cpu_isas()); }

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
        for (const std::shared_ptr<Opening>& opening : std::exchange(own->openings, {})) {
            opening->bridge->close();
            opening->thread.join();
            if (opening->engine) opening->engine->engine.stop();
            opening->bridge->drop();
        }
        for (const std::weak_ptr<EngineState>& weak : own->engines)
            if (const EngineRef engine = weak.lock()) {
                engine->bridge.close();
                engine->engine.stop();
                engine->bridge.drop();
            }
    });
    exports.Set("useErrors", Napi::Function::New<guarded_function<use_errors>>(env));
    exports.Set("createEngine", Napi::Function::New<guarded_function<create_engine>>(env));
    exports.Set("openEngine", Napi::Function::New<guarded_function<open_engine>>(env));
    exports.Set("findLibrary", Napi::Function::New<guarded_function<libraries_named>>(env));
    exports.Set("describeBackend", Napi::Function::New<guarded_function<describe_backend>>(env));
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
