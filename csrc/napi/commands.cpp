#include <algorithm>

#include "binding.h"

namespace vin {

// ---- the way back ----

Bridge::Bridge(Napi::Env env) : env_(env) {
    napi_value name = Napi::String::New(env, "vin-native");
    if (napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, this, &Bridge::deliver,
                                        &function_) != napi_ok)
        throw Error("VIN_OUT_OF_MEMORY", "Expected a way back to the JavaScript thread but Node gives none");
    napi_unref_threadsafe_function(env, function_);
}

Bridge::~Bridge() { close(); }

void Bridge::begin() {
    if (pending_++ == 0) napi_ref_threadsafe_function(env_, function_);
}

void Bridge::post(std::unique_ptr<Settle> settle) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!closed_) {
        if (napi_call_threadsafe_function(function_, settle.get(), napi_tsfn_nonblocking) == napi_ok) {
            settle.release();
            return;
        }
        closed_ = true;  // refused, and with that this function is given up
    }
    // When the environment is closing nobody is left to settle for. The closure may own the last claim on the engine,
    // whose thread this may be: it is kept.
    late_.push_back(std::move(settle));
}

void Bridge::deliver(napi_env env, napi_value, void* context, void* data) {
    std::unique_ptr<Settle> settle(static_cast<Settle*>(data));
    if (!env) return;  // the environment is gone: what the closure owns goes too
    auto* bridge = static_cast<Bridge*>(context);
    if (--bridge->pending_ == 0) napi_unref_threadsafe_function(env, bridge->function_);
    Napi::HandleScope scope(env);
    try {
        (*settle)(env);
    } catch (const Napi::Error&) {
        // A worker that is being terminated refuses every call into JavaScript, and nobody is left to be told.
    }
}

void Bridge::close() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!closed_) napi_release_threadsafe_function(function_, napi_tsfn_abort);
    closed_ = true;
}

void Bridge::drop() {
    std::vector<std::unique_ptr<Settle>> late;
    {
        std::lock_guard<std::mutex> lock(mutex_);
        late.swap(late_);
    }
}

// ---- engines, handles, commands ----

static std::atomic<uint64_t> handles{0};
static std::mutex engines_mutex;
static std::vector<Engine*> engines;

uint64_t live_handles() { return handles.load(); }

uint64_t live_engines() {
    std::lock_guard<std::mutex> lock(engines_mutex);
    return engines.size();
}

uint64_t all_bytes() {
    std::lock_guard<std::mutex> lock(engines_mutex);
    uint64_t bytes = 0;
    for (Engine* engine : engines) bytes += engine->memory()->stats().bytes;
    return bytes;
}

EngineState::EngineState(std::shared_ptr<Bridge> bridge_given, const EngineOptions& options)
    : bridge_(std::move(bridge_given)), bridge(*bridge_), engine(options) {
    std::lock_guard<std::mutex> lock(engines_mutex);
    engines.push_back(&engine);
}

EngineState::~EngineState() {
    std::lock_guard<std::mutex> lock(engines_mutex);
    engines.erase(std::find(engines.begin(), engines.end(), &engine));
}

Handle::Handle(EngineRef engine_, Shape shape_, int32_t dtype_)
    : engine(std::move(engine_)), shape(std::move(shape_)), dtype(dtype_) {
    handles++;
}
Handle::~Handle() {
    delete error_.load();
    handles--;
}

void Handle::throw_error() const {
    if (const Error* error = error_.load()) throw *error;
}

const Tensor& Handle::value() const {
    throw_error();
    engine->engine.after([this] { throw_error(); });
    return tensor;
}

void Handle::fail(const Error& error) {
    const Error* none = nullptr;
    auto own = std::make_unique<const Error>(error);
    if (error_.compare_exchange_strong(none, own.get())) own.release();
}

HandleRef new_handle(const EngineRef& engine, const Shape& shape, int32_t dtype) {
    elements(shape);
    return std::make_shared<Handle>(engine, shape, dtype);
}

// A command under way. Owned by the queue, then by the closure that goes back: it dies on the JavaScript thread, and
// never on the engine's, which it may end.
struct Flight {
    EngineRef engine;
    Command command;
};

static std::unique_ptr<Bridge::Settle> way_back(Flight* flight, Failure error, bool settles) {
    return std::make_unique<Bridge::Settle>(
        [owned = std::shared_ptr<Flight>(flight), error = std::move(error), settles](Napi::Env env) {
            if (settles && owned->command.settle) owned->command.settle(env, error.get());
        });
}

void submit(const EngineRef& engine, Command given) {
    auto* flight = new Flight{engine, std::move(given)};
    Bridge* bridge = &engine->bridge;
    bridge->begin();
    const auto done = [flight, bridge](Failure error) {
        if (error)
            for (const HandleRef& output : flight->command.outputs) output->fail(*error);
        bridge->post(way_back(flight, std::move(error), true));
    };
    try {
        engine->engine.submit(flight->command.cancel, [flight] { flight->command.work(); }, done);
    } catch (...) {
        bridge->post(way_back(flight, nullptr, false));
        throw;
    }
}

void submit(const EngineRef& engine, std::function<void()> work) {
    submit(engine, Command{std::move(work), {}, {}, {}});
}

Napi::Object submit(Napi::Env env, const HandleRef& output, std::shared_ptr<Cancel> cancel,
                    std::function<Tensor(Engine&)> work) {
    const auto run = [output, work = std::move(work)] { output->tensor = work(output->engine->engine); };
    submit(output->engine, Command{run, {output}, {}, std::move(cancel)});
    return wrap_tensor(env, output);
}

Napi::Promise promise(Napi::Env env, const EngineRef& engine, std::function<void()> work,
                      std::shared_ptr<Cancel> cancel, std::function<Napi::Value(Napi::Env)> result) {
    auto deferred = std::make_shared<Napi::Promise::Deferred>(env);
    const auto settle = [deferred, result](Napi::Env env, const Error* error) {
        try {
            if (error) throw *error;
            deferred->Resolve(result ? result(env) : env.Undefined());
        } catch (const Napi::Error& thrown) { deferred->Reject(thrown.Value()); } catch (const Error& thrown) {
            deferred->Reject(to_js(env, thrown).Value());
        }
    };
    submit(engine, Command{std::move(work), {}, settle, std::move(cancel)});
    return deferred->Promise();
}

}  // namespace vin
