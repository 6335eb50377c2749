// Engine as a JavaScript class.
#include <cstring>

#include "binding.h"

namespace vin {

class EngineWrap : public Wrapper<EngineWrap, EngineRef> {
public:
    static constexpr auto name = "NativeEngine", what = "an open engine";
    static constexpr uint64_t tag = 0x656e67696e650001;
    using Wrapper::Wrapper;

    static void define(Napi::Env env) {
        using E = EngineWrap;
        Wrapper::define(env, {getter<&E::info>("info"), method<&E::upload>("upload"), method<&E::op>("op"),
                              method<&E::slice>("slice"), method<&E::reshape>("reshape"), method<&E::fence>("fence"),
                              method<&E::stats>("stats"), method<&E::create_cancel>("createCancel"),
                              method<&E::load>("load"), method<&E::create>("create"),
                              method<&E::make_trainer>("createTrainer"), method<&E::dispose>("dispose")});
    }

    Napi::Value info(const Napi::CallbackInfo& call) {
        const Engine& engine = held()->engine;
        Napi::Object out = Napi::Object::New(call.Env());
        out.Set("device", engine.backend().name);
        out.Set("backend", engine.backend().name);
        out.Set("isa", engine.backend().build);
        out.Set("threads", engine.threads());
        return out;
    }
    Napi::Value upload(const Napi::CallbackInfo& call) {
        const EngineRef engine = held();
        const Shape shape = shape_from_js(call[1]);
        if (!call[0].IsTypedArray()) throw Error("VIN_INVALID", "Expected a typed array to upload");
        const Napi::TypedArray array = call[0].As<Napi::TypedArray>();
        int32_t dtype = VIN_DTYPE_F32;
        switch (array.TypedArrayType()) {
            case napi_float32_array: dtype = VIN_DTYPE_F32; break;
            case napi_float64_array: dtype = VIN_DTYPE_F64; break;
            case napi_int32_array: dtype = VIN_DTYPE_I32; break;
            case napi_uint8_array:
            case napi_uint8_clamped_array: dtype = VIN_DTYPE_U8; break;
            default:
                throw Error("VIN_INVALID", "Expected a Float32Array, Float64Array, Int32Array or Uint8Array to upload");
        }
        if (static_cast<int64_t>(array.ElementLength()) != elements(shape))
            throw Error("VIN_INVALID", "Expected " + std::to_string(elements(shape)) + " values for the shape " +
                                           to_string(shape) + " but received " + std::to_string(array.ElementLength()));
        const char* source = bytes_of(array);
        auto bytes = std::make_shared<std::vector<char>>(source, source + array.ByteLength());
        const HandleRef handle = new_handle(engine, shape, dtype);
        return submit(call.Env(), handle, nullptr, [handle, bytes](Engine& engine) {
            Tensor tensor = Tensor::allocate(engine.memory(), handle->shape, handle->dtype);
            engine.upload(tensor.view().data, bytes->data(), bytes->size());
            return tensor;
        });
    }
    Napi::Value op(const Napi::CallbackInfo& call) { return call_op(call, held()); }
    Napi::Value slice(const Napi::CallbackInfo& call) {
        const int axis = call[1].ToNumber().Int32Value();
        const int64_t begin = call[2].ToNumber().Int64Value(), end = call[3].ToNumber().Int64Value();
        Shape shape = unwrap_tensor(call[0], "slice")->shape;
        if (axis < 0 || axis >= static_cast<int>(shape.size()) || begin < 0 || end < begin ||
            end > shape[static_cast<size_t>(axis)])
            throw Error("VIN_INVALID", "Expected a range inside axis " + std::to_string(axis) + " of " +
                                           to_string(shape) + " but received " + std::to_string(begin) + " to " +
                                           std::to_string(end));
        shape[static_cast<size_t>(axis)] = end - begin;
        return view(call, shape, [axis, begin, end](const Tensor& t) { return t.slice(axis, begin, end); });
    }
    Napi::Value reshape(const Napi::CallbackInfo& call) {
        const Shape shape = shape_from_js(call[1]);
        if (elements(shape) != elements(unwrap_tensor(call[0], "reshape")->shape))
            throw Error("VIN_INVALID", "Expected a shape of as many elements as " +
                                           to_string(unwrap_tensor(call[0], "reshape")->shape) + " but received " +
                                           to_string(shape));
        return view(call, shape, [shape](const Tensor& t) { return t.reshape(shape); });
    }
    Napi::Value fence(const Napi::CallbackInfo& call) {
        return promise(call.Env(), held(), [] {});
    }
    Napi::Value stats(const Napi::CallbackInfo& call) {
        const Engine& engine = held()->engine;
        const PoolMemory::Stats stats = engine.memory()->stats();
        Napi::Object out = Napi::Object::New(call.Env());
        out.Set("bytes", static_cast<double>(stats.bytes));
        out.Set("peakBytes", static_cast<double>(stats.peak));
        out.Set("allocations", static_cast<double>(stats.allocations));
        out.Set("handles", static_cast<double>(live_handles()));
        out.Set("commands", static_cast<double>(engine.commands()));
        out.Set("dryRuns", static_cast<double>(engine.dry_runs()));
        return out;
    }
    Napi::Value create_cancel(const Napi::CallbackInfo& call) { return new_cancel(call.Env()); }
    Napi::Value load(const Napi::CallbackInfo& call) { return load_model(call, held()); }
    Napi::Value create(const Napi::CallbackInfo& call) { return create_model(call, held()); }
    Napi::Value make_trainer(const Napi::CallbackInfo& call) { return create_trainer(call, held()); }
    // Gives kept memory back once everything queued has run; the engine is closed when the last handle has gone.
    Napi::Value dispose(const Napi::CallbackInfo& call) {
        const EngineRef engine = take(call.Env());
        if (engine) return promise(call.Env(), engine, [state = engine.get()] { state->engine.release(); });
        auto done = Napi::Promise::Deferred::New(call.Env());
        done.Resolve(call.Env().Undefined());
        return done.Promise();
    }

private:
    // A handle of the same memory under another shape; the view is made on the engine's thread, behind the command that
    // makes the tensor.
    Napi::Value view(const Napi::CallbackInfo& call, const Shape& shape, std::function<Tensor(const Tensor&)> make) {
        const HandleRef source = unwrap_tensor(call[0], "a view");
        return submit(call.Env(), new_handle(source->engine, shape, source->dtype), nullptr,
                      [source, make](Engine&) { return make(source->value()); });
    }
};

void define_engine(Napi::Env env) { EngineWrap::define(env); }

Napi::Object wrap_engine(Napi::Env env, const EngineRef& engine) { return EngineWrap::wrap(env, engine); }

}  // namespace vin
