// Engine as a JavaScript class.
#include <cstring>

#include "door.h"

namespace vin {

static const napi_type_tag engine_tag = {0x76696e2d6e617469, 0x656e67696e650001};

class EngineWrap : public Napi::ObjectWrap<EngineWrap> {
public:
    explicit EngineWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<EngineWrap>(info) {
        if (info.Length() != 1 || !info[0].IsExternal())
            throw Napi::TypeError::New(info.Env(), "Expected an Engine to be made by createEngine");
        engine_ = *info[0].As<Napi::External<EngineRef>>().Data();
    }

    const EngineRef& engine() const {
        if (!engine_) throw Error("VIN_DISPOSED", "Expected an open engine but it was disposed");
        return engine_;
    }

    Napi::Value info(const Napi::CallbackInfo& call) {
        return guarded(call.Env(), [&]() -> Napi::Value {
            const Engine& engine = this->engine()->engine;
            Napi::Object out = Napi::Object::New(call.Env());
            out.Set("device", engine.backend().name);
            out.Set("backend", engine.backend().name);
            out.Set("isa", engine.backend().build);
            out.Set("threads", engine.threads());
            return out;
        });
    }
    Napi::Value upload(const Napi::CallbackInfo& call) {
        return guarded(call.Env(), [&]() -> Napi::Value {
            const EngineRef engine = this->engine();
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
                    throw Error("VIN_INVALID",
                                "Expected a Float32Array, Float64Array, Int32Array or Uint8Array to upload");
            }
            if (static_cast<int64_t>(array.ElementLength()) != elements(shape))
                throw Error("VIN_INVALID", "Expected " + std::to_string(elements(shape)) + " values for the shape " +
                                               to_string(shape) + " but received " +
                                               std::to_string(array.ElementLength()));
            const char* source = bytes_of(array);
            auto bytes = std::make_shared<std::vector<char>>(source, source + array.ByteLength());
            const HandleRef handle = new_handle(engine, shape, dtype);
            Command command;
            command.outputs = {handle};
            command.work = [handle, bytes] {
                Engine& engine = handle->engine->engine;
                Tensor tensor = Tensor::allocate(engine.memory(), handle->shape, handle->dtype);
                engine.upload(tensor.view().data, bytes->data(), bytes->size());
                handle->tensor = tensor;
            };
            submit(engine, std::move(command));
            return wrap_tensor(call.Env(), handle);
        });
    }
    Napi::Value op(const Napi::CallbackInfo& call) {
        return guarded(call.Env(), [&]() -> Napi::Value { return call_op(call, engine()); });
    }
    Napi::Value slice(const Napi::CallbackInfo& call) {
        return guarded(call.Env(), [&]() -> Napi::Value {
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
        });
    }
    Napi::Value reshape(const Napi::CallbackInfo& call) {
        return guarded(call.Env(), [&]() -> Napi::Value {
            const Shape shape = shape_from_js(call[1]);
            if (elements(shape) != elements(unwrap_tensor(call[0], "reshape")->shape))
                throw Error("VIN_INVALID", "Expected a shape of as many elements as " +
                                               to_string(unwrap_tensor(call[0], "reshape")->shape) + " but received " +
                                               to_string(shape));
            return view(call, shape, [shape](const Tensor& t) { return t.reshape(shape); });
        });
    }
    Napi::Value fence(const Napi::CallbackInfo& call) {
        return guarded(call.Env(),
                       [&]() -> Napi::Value { return promise(call.Env(), engine(), nullptr, [] {}, nullptr); });
    }
    Napi::Value stats(const Napi::CallbackInfo& call) {
        return guarded(call.Env(), [&]() -> Napi::Value {
            const Engine& engine = this->engine()->engine;
            const PoolMemory::Stats stats = engine.memory()->stats();
            Napi::Object out = Napi::Object::New(call.Env());
            out.Set("bytes", static_cast<double>(stats.bytes));
            out.Set("peakBytes", static_cast<double>(stats.peak));
            out.Set("allocations", static_cast<double>(stats.allocations));
            out.Set("handles", static_cast<double>(live_handles()));
            out.Set("commands", static_cast<double>(engine.commands()));
            out.Set("dryRuns", static_cast<double>(engine.dry_runs()));
            return out;
        });
    }
    Napi::Value create_cancel(const Napi::CallbackInfo& call) {
        return guarded(call.Env(), [&]() -> Napi::Value { return wrap_cancel(call.Env()); });
    }
    Napi::Value load(const Napi::CallbackInfo& call) {
        return guarded(call.Env(), [&]() -> Napi::Value { return load_model(call, engine()); });
    }
    Napi::Value create(const Napi::CallbackInfo& call) {
        return guarded(call.Env(), [&]() -> Napi::Value { return create_model(call, engine()); });
    }
    Napi::Value make_trainer(const Napi::CallbackInfo& call) {
        return guarded(call.Env(), [&]() -> Napi::Value { return create_trainer(call, engine()); });
    }
    // Gives kept memory back once everything queued has run; the engine is closed when the last handle has gone.
    Napi::Value dispose(const Napi::CallbackInfo& call) {
        return guarded(call.Env(), [&]() -> Napi::Value {
            if (!engine_) {
                auto done = Napi::Promise::Deferred::New(call.Env());
                done.Resolve(call.Env().Undefined());
                return done.Promise();
            }
            const EngineRef engine = std::move(engine_);
            engine_.reset();
            return promise(call.Env(), engine, nullptr, [state = engine.get()] { state->engine.release(); }, nullptr);
        });
    }

private:
    // A handle of the same memory under another shape; the view is made on the engine's thread, behind the command that
    // makes the tensor.
    Napi::Value view(const Napi::CallbackInfo& call, const Shape& shape, std::function<Tensor(const Tensor&)> make) {
        const HandleRef source = unwrap_tensor(call[0], "a view");
        const HandleRef handle = new_handle(source->engine, shape, source->dtype);
        Command command;
        command.outputs = {handle};
        command.work = [source, handle, make] { handle->tensor = make(source->value()); };
        submit(source->engine, std::move(command));
        return wrap_tensor(call.Env(), handle);
    }
    EngineRef engine_;
};

Napi::Function define_engine(Napi::Env env) {
    using E = EngineWrap;
    return E::DefineClass(env, "NativeEngine",
                          {E::InstanceAccessor<&E::info>("info"), E::InstanceMethod<&E::upload>("upload"),
                           E::InstanceMethod<&E::op>("op"), E::InstanceMethod<&E::slice>("slice"),
                           E::InstanceMethod<&E::reshape>("reshape"), E::InstanceMethod<&E::fence>("fence"),
                           E::InstanceMethod<&E::stats>("stats"), E::InstanceMethod<&E::create_cancel>("createCancel"),
                           E::InstanceMethod<&E::load>("load"), E::InstanceMethod<&E::create>("create"),
                           E::InstanceMethod<&E::make_trainer>("createTrainer"),
                           E::InstanceMethod<&E::dispose>("dispose")});
}

Napi::Object wrap_engine(Napi::Env env, EngineRef engine) {
    Napi::Object object = classes(env).engine.New({Napi::External<EngineRef>::New(env, &engine)});
    object.TypeTag(&engine_tag);
    return object;
}

}  // namespace vin
