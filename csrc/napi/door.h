// Shared pieces of the N-API door: handles of tensors, commands that leave the JavaScript thread and come back once,
// conversion of values and errors.
#pragma once
#include <napi.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "../core/engine.h"
#include "../core/json.h"
#include "../core/safetensors.h"

namespace vin {

// The way back to the JavaScript thread. It holds the process only while commands are on their way.
class Bridge {
public:
    explicit Bridge(Napi::Env env);
    ~Bridge();
    using Settle = std::function<void(Napi::Env)>;
    void begin();  // JavaScript thread: one more command is on its way
    void post(
        std::unique_ptr<Settle> settle);  // any thread; takes the closure, which runs and dies on the JavaScript thread
    void close();                         // JavaScript thread: the environment is going away
    void drop();  // JavaScript thread, closed and nobody posts any more: lets go of what was too late to be settled

private:
    static void deliver(napi_env env, napi_value, void* context, void* data);
    napi_env env_;
    napi_threadsafe_function function_ = nullptr;
    int pending_ = 0;
    std::mutex mutex_;
    bool closed_ = false;
    std::vector<std::unique_ptr<Settle>> late_;
};

// An engine as JavaScript holds it. Handles keep it alive, so memory always goes back to the backend it came from.
struct EngineState {
    EngineState(Napi::Env env, const EngineOptions& options);
    ~EngineState();
    Bridge bridge;
    Engine engine;
};
using EngineRef = std::shared_ptr<EngineState>;

// A tensor of JavaScript. `tensor` and `error` belong to the engine's thread; shape and dtype never change.
struct Handle {
    Handle(EngineRef engine_, Shape shape_, int32_t dtype_);
    ~Handle();
    EngineRef engine;  // first: released last
    const Shape shape;
    const int32_t dtype;
    Tensor tensor;
    std::shared_ptr<Error> error;

    const Tensor& value() const {  // engine thread; throws what made this tensor fail
        if (error) throw *error;
        return tensor;
    }
    size_t bytes() const { return static_cast<size_t>(elements(shape)) * dtype_bytes(dtype); }
};
using HandleRef = std::shared_ptr<Handle>;

uint64_t live_handles();
uint64_t live_engines();
uint64_t all_bytes();  // of all engines of the process

// Work for the engine's thread. `settle` runs on the JavaScript thread with the error or null. Everything captured dies
// on the JavaScript thread.
struct Command {
    std::function<void()> work;
    std::vector<HandleRef> outputs;  // marked as failed when work throws
    std::function<void(Napi::Env, const Error*)> settle;
    std::shared_ptr<Cancel> cancel;
};
void submit(const EngineRef& engine, Command command);
// The same, as a promise of what `result` makes on the JavaScript thread.
Napi::Promise promise(Napi::Env env, const EngineRef& engine, std::shared_ptr<Cancel> cancel,
                      std::function<void()> work, std::function<Napi::Value(Napi::Env)> result);

// ---- conversion ----
Napi::Error to_js(Napi::Env env, const Error& error);
// Runs fn; an Error becomes a JavaScript exception.
template <class Fn>
auto guarded(Napi::Env env, const Fn& fn) {
    try {
        return fn();
    } catch (const Error& error) { throw to_js(env, error); } catch (const std::bad_alloc&) {
        throw to_js(env, Error("VIN_OUT_OF_MEMORY", "Expected more memory than the host has"));
    }
}
// The first byte of a typed array, which may lie in a SharedArrayBuffer.
const char* bytes_of(const Napi::TypedArray& array);
Napi::Array shape_to_js(Napi::Env env, const Shape& shape);
Shape shape_from_js(const Napi::Value& value);
int32_t dtype_from_js(const std::string& name);
double number(const Napi::Object& object, const char* key,
              double fallback);  // absent: fallback; not a number: TypeError
double required_number(const Napi::Object& object, const char* key);
bool flag(const Napi::Object& object, const char* key, bool fallback);
std::string text(const Napi::Object& object, const char* key, const std::string& fallback);
std::vector<int64_t> integers(const Napi::Value& value, const char* what);
std::vector<std::string> strings(const Napi::Value& value, const char* what);
bool has(const Napi::Object& object, const char* key);          // neither undefined nor null
SafetensorsLimits limits_from_js(const Napi::Object& options);  // options.limits
Json json_from_js(const Napi::Value& value, const std::string& file);

// ---- wrappers ----
Napi::Object wrap_tensor(Napi::Env env, HandleRef handle);
HandleRef unwrap_tensor(const Napi::Value& value, const char* what);
HandleRef optional_tensor(const Napi::Object& object, const char* key);
HandleRef new_handle(const EngineRef& engine, const Shape& shape, int32_t dtype = VIN_DTYPE_F32);
Napi::Object wrap_cancel(Napi::Env env);
std::shared_ptr<Cancel> optional_cancel(const Napi::Object& object);
Napi::Object wrap_engine(Napi::Env env, EngineRef engine);

struct AnyModel;
Napi::Promise load_model(const Napi::CallbackInfo& info, const EngineRef& engine);
Napi::Value create_model(const Napi::CallbackInfo& info, const EngineRef& engine);
std::shared_ptr<AnyModel> unwrap_model(const Napi::Value& value);
Napi::Value create_trainer(const Napi::CallbackInfo& info, const EngineRef& engine);
Napi::Value call_op(const Napi::CallbackInfo& info, const EngineRef& engine);
Napi::Value describe_ops(const Napi::CallbackInfo& info);
Napi::Value read_safetensors_js(const Napi::CallbackInfo& info);
Napi::Value write_safetensors_js(const Napi::CallbackInfo& info);
Napi::Value parse_json_js(const Napi::CallbackInfo& info);
Napi::Value resolve_config_js(const Napi::CallbackInfo& info);

// What each environment has of its own: constructors of the wrapper classes, those of errors as the library has handed
// them over (weak: a test runner drops the library with its realm), and the engines.
struct Classes {
    Napi::FunctionReference tensor, cancel, engine, model, trainer;
    Napi::FunctionReference vin_error, range_error, abort_error;
    std::vector<std::weak_ptr<EngineState>> engines;
};
Classes& classes(Napi::Env env);
Napi::Function define_tensor(Napi::Env env);
Napi::Function define_cancel(Napi::Env env);
Napi::Function define_engine(Napi::Env env);
Napi::Function define_model(Napi::Env env);
Napi::Function define_trainer(Napi::Env env);

}  // namespace vin
