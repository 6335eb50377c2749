// What the files of the binding share: commands that leave the JavaScript thread and come back once (commands.cpp),
// conversion of values and errors (values.cpp), and the base of its classes. lib/native/binding.ts describes the
// binding.
#pragma once
#include <napi.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
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
    // JavaScript thread: one more command is on its way.
    void begin();
    // Any thread; takes the closure, which runs and dies on the JavaScript thread.
    void post(std::unique_ptr<Settle> settle);
    // JavaScript thread: the environment is going away.
    void close();
    // JavaScript thread, closed and nobody posts any more: lets go of what was too late to be settled.
    void drop();

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
class EngineState {
    std::shared_ptr<Bridge> bridge_;  // first: the engine's threads use it

public:
    EngineState(std::shared_ptr<Bridge> bridge, const EngineOptions& options);  // any thread
    ~EngineState();
    Bridge& bridge;
    Engine engine;
};
using EngineRef = std::shared_ptr<EngineState>;

// An engine that a thread of its own opens, since a driver may take long.
struct Opening {
    std::shared_ptr<Bridge> bridge;
    std::thread thread;
    EngineRef engine;
    Failure failure;
};

// A tensor of JavaScript. `tensor` belongs to the engine's thread; shape and dtype never change.
class Handle {
public:
    Handle(EngineRef engine_, Shape shape_, int32_t dtype_);
    ~Handle();
    EngineRef engine;  // first: released last
    const Shape shape;
    const int32_t dtype;
    Tensor tensor;

    // Inside a command that keeps this handle: what has made the tensor fail, or will, fails the command.
    const Tensor& value() const;
    void fail(const Error& error);  // any thread; the first error counts
    size_t bytes() const { return static_cast<size_t>(elements(shape)) * dtype_bytes(dtype); }

private:
    void throw_error() const;
    std::atomic<const Error*> error_{nullptr};
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
void submit(const EngineRef& engine, std::function<void()> work);
// The same for work that makes one tensor, whose handle is there at once.
Napi::Object submit(Napi::Env env, const HandleRef& output, std::shared_ptr<Cancel> cancel,
                    std::function<Tensor(Engine&)> work);
// The same, as a promise of what `result` makes on the JavaScript thread.
Napi::Promise promise(Napi::Env env, const EngineRef& engine, std::function<void()> work,
                      std::shared_ptr<Cancel> cancel = nullptr, std::function<Napi::Value(Napi::Env)> result = nullptr);

// ---- conversion ----
Napi::Error to_js(Napi::Env env, const Error& error);
// What `call` returns; an Error that it throws becomes a JavaScript exception.
template <class Call>
Napi::Value guarded(Napi::Env env, const Call& call) {
    try {
        return call();
    } catch (const Error& error) { throw to_js(env, error); } catch (const std::bad_alloc&) {
        throw to_js(env, Error("VIN_OUT_OF_MEMORY", "Expected more memory than the host has"));
    }
}
// The first byte of a typed array, which may lie in a SharedArrayBuffer.
const char* bytes_of(const Napi::TypedArray& array);
Napi::Array shape_to_js(Napi::Env env, const Shape& shape);
Shape shape_from_js(const Napi::Value& value);
int32_t dtype_from_js(const std::string& name);
int32_t dtype_of(const Napi::TypedArray& array, const std::string& what);
// The value of a key; an absent one is the fallback, one of another type an error.
double number(const Napi::Object& object, const char* key, double fallback);
double required_number(const Napi::Object& object, const char* key);
int64_t required_integer(const Napi::Object& object, const char* key);  // fractions are dropped
bool flag(const Napi::Object& object, const char* key, bool fallback);
std::string text(const Napi::Object& object, const char* key, const std::string& fallback);
std::vector<Napi::Value> items(const Napi::Value& array, const char* what);
std::vector<int64_t> integers(const Napi::Value& value, const char* what);
std::vector<std::string> strings(const Napi::Value& value, const char* what);
Napi::Object options_at(const Napi::CallbackInfo& info, size_t index);  // empty where none are given
bool has(const Napi::Object& object, const char* key);                  // neither undefined nor null
SafetensorsLimits limits_from_js(const Napi::Object& options);          // options.limits
Json json_from_js(const Napi::Value& value, const std::string& file);
// Objects without a prototype, since keys of a file may be any, but for those whose keys are our own.
Napi::Value json_to_js(Napi::Env env, const Json& json, bool own_keys = false);

// ---- classes ----

// What each environment has of its own: constructors of the classes by name, those of errors as the library has handed
// them over (weak: a test runner drops the library with its realm), and the engines.
struct Environment {
    std::map<std::string, Napi::FunctionReference> constructors;
    Napi::FunctionReference vin_error, range_error, abort_error;
    std::vector<std::weak_ptr<EngineState>> engines;
    std::vector<std::shared_ptr<Opening>> openings;
};
Environment& environment(Napi::Env env);

// A class whose objects hold a native one until dispose(). Self has its `name`, and `what` it is in errors; `tag` tells
// its objects from others that look alike.
template <class Self, class Held>
class Wrapper : public Napi::ObjectWrap<Self> {
public:
    explicit Wrapper(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Self>(info) {
        if (info.Length() != 1 || !info[0].IsExternal())
            throw Napi::TypeError::New(info.Env(),
                                       std::string("Expected a ") + Self::name + " to be made by an engine");
        held_ = *info[0].As<Napi::External<Held>>().Data();
        set_outside_bytes(info.Env(), Self::outside_bytes(held_));
    }
    void Finalize(Napi::BasicEnv env) override { set_outside_bytes(env, 0); }

    const Held& held() const {
        if (!held_) throw Error("VIN_DISPOSED", concat("Expected ", Self::what, " but it was disposed"));
        return held_;
    }
    Napi::Value dispose(const Napi::CallbackInfo& info) {
        take(info.Env());
        return info.Env().Undefined();
    }

    static Napi::Object wrap(Napi::Env env, Held held) {
        Napi::Object object = environment(env).constructors.at(Self::name).New({Napi::External<Held>::New(env, &held)});
        object.TypeTag(&type_tag());
        return object;
    }
    static bool is(const Napi::Value& value) {
        return value.IsObject() && value.As<Napi::Object>().CheckTypeTag(&type_tag());
    }
    static const Held& unwrap(const Napi::Value& value) { return Self::Unwrap(value.As<Napi::Object>())->held(); }

    // Bytes outside V8's heap that an object keeps.
    static size_t outside_bytes(const Held&) { return 0; }

protected:
    using Property = Napi::ClassPropertyDescriptor<Self>;
    static void define(Napi::Env env, const std::vector<Property>& properties) {
        environment(env).constructors[Self::name] = Napi::Persistent(Self::DefineClass(env, Self::name, properties));
    }
    // A method or property under its name in JavaScript: a member, or a function of the call and of what is held.
    template <auto call>
    static Property method(const char* name) {
        return Self::InstanceMethod(name, callback<call>());
    }
    template <auto call>
    static Property getter(const char* name) {
        return Self::InstanceAccessor(name, callback<call>(), nullptr);
    }
    // Disposes of the object: what it held.
    Held take(Napi::BasicEnv env) {
        set_outside_bytes(env, 0);
        return std::exchange(held_, nullptr);
    }

private:
    using Callback = Napi::Value (Self::*)(const Napi::CallbackInfo&);
    template <auto call>
    static Callback callback() {
        return static_cast<Callback>(&Wrapper::template guarded_call<call>);
    }
    template <auto call>
    Napi::Value guarded_call(const Napi::CallbackInfo& info) {
        return guarded(info.Env(), [&]() -> Napi::Value {
            if constexpr (std::is_member_function_pointer_v<decltype(call)>)
                return (static_cast<Self*>(this)->*call)(info);
            else
                return call(info, Held(held()));  // kept: a getter of an argument may dispose of this object
        });
    }
    static const napi_type_tag& type_tag() {
        static const napi_type_tag tag = {0x76696e2d6e617469, Self::tag};
        return tag;
    }
    void set_outside_bytes(Napi::BasicEnv env, size_t bytes) {
        const int64_t change = static_cast<int64_t>(bytes) - static_cast<int64_t>(outside_bytes_);
        if (change) Napi::MemoryManagement::AdjustExternalMemory(env, change);
        outside_bytes_ = bytes;
    }
    Held held_;
    size_t outside_bytes_ = 0;
};

// A function of the addon that throws Error.
template <Napi::Value (*call)(const Napi::CallbackInfo&)>
Napi::Value guarded_function(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] { return call(info); });
}

HandleRef new_handle(const EngineRef& engine, const Shape& shape, int32_t dtype = VIN_DTYPE_F32);
Napi::Object wrap_tensor(Napi::Env env, const HandleRef& handle);
Napi::Object wrap_tensor(Napi::Env env, const EngineRef& engine, const Tensor& tensor);  // one that is there already
HandleRef unwrap_tensor(const Napi::Value& value, const char* what);
HandleRef optional_tensor(const Napi::Object& object, const char* key);
Napi::Value new_cancel(const Napi::CallbackInfo& info, const EngineRef& engine);
std::shared_ptr<Cancel> optional_cancel(const Napi::Object& object);
Napi::Object wrap_engine(Napi::Env env, const EngineRef& engine);
Napi::Object device_to_js(Napi::Env env, const vin_device_info& device);

Napi::Value load_model_js(const Napi::CallbackInfo& info, const EngineRef& engine);
Napi::Value create_model_js(const Napi::CallbackInfo& info, const EngineRef& engine);
Napi::Value create_trainer_js(const Napi::CallbackInfo& info, const EngineRef& engine);
Napi::Value call_op_js(const Napi::CallbackInfo& info, const EngineRef& engine);
Napi::Value describe_ops(const Napi::CallbackInfo& info);
Napi::Value read_safetensors_js(const Napi::CallbackInfo& info);
Napi::Value write_safetensors_js(const Napi::CallbackInfo& info);
Napi::Value parse_json_js(const Napi::CallbackInfo& info);
Napi::Value resolve_config_js(const Napi::CallbackInfo& info);

void define_tensor(Napi::Env env);
void define_engine(Napi::Env env);
void define_models(Napi::Env env);
void define_trainer(Napi::Env env);

}  // namespace vin
