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
        Wrapper::define(env, {getter<&E::info>("info"), method<&E::upload>("upload"), method<&call_op_js>("op"),
                              method<&E::slice>("slice"), method<&E::reshape>("reshape"), method<&E::fence>("fence"),
                              method<&E::stats>("stats"), method<&new_cancel>("createCancel"),
                              method<&load_model_js>("load"), method<&create_model_js>("create"),
                              method<&create_trainer_js>("createTrainer"), method<&E::dispose>("dispose")});
    }

    Napi::Value info(const Napi::CallbackInfo& call) {
        const Engine& engine = held()->engine;
        Napi::Object out = Napi::Object::New(call.Env());
        out.Set("device", engine.backend().name);
        out.Set("backend", engine.backend().name);
        out.Set("isa", engine.backend().build);
        out.Set("threads", engine.threads());
        if (engine.device().arch) out.Set("hardware", device_to_js(call.Env(), engine.device()));
        return out;
    }
    Napi::Value upload(const Napi::CallbackInfo& call) {
        const EngineRef engine = held();
        const Shape shape = shape_from_js(call[1]);
        if (!call[0].IsTypedArray()) throw invalid("Expected a typed array to upload");
        const Napi::TypedArray array = call[0].As<Napi::TypedArray>();
        const int32_t dtype = dtype_of(array, "to upload");
        if (static_cast<int64_t>(array.ElementLength()) != elements(shape))
            throw invalid("Expected ", elements(shape), " values for the shape ", shape, " but received ",
                          array.ElementLength());
        const char* source = bytes_of(array);
        auto bytes = std::make_shared<std::vector<char>>(source, source + array.ByteLength());
        const HandleRef handle = new_handle(engine, shape, dtype);
        return submit(call.Env(), handle, nullptr, [handle, bytes](Engine& engine) {
            Tensor tensor = Tensor::allocate(engine.memory(), handle->shape, handle->dtype);
            engine.upload(tensor.view().data, bytes->data(), bytes->size());
            return tensor;
        });
    }
    Napi::Value slice(const Napi::CallbackInfo& call) {
        const int axis = call[1].ToNumber().Int32Value();
        const int64_t begin = call[2].ToNumber().Int64Value(), end = call[3].ToNumber().Int64Value();
        Shape shape = unwrap_tensor(call[0], "slice")->shape;
        if (axis < 0 || axis >= static_cast<int>(shape.size()) || begin < 0 || end < begin ||
            end > shape[static_cast<size_t>(axis)])
            throw invalid("Expected a range inside axis ", axis, " of ", shape, " but received ", begin, " to ", end);
        shape[static_cast<size_t>(axis)] = end - begin;
        return view(call, shape, [axis, begin, end](const Tensor& t) { return t.slice(axis, begin, end); });
    }
    Napi::Value reshape(const Napi::CallbackInfo& call) {
        const Shape shape = shape_from_js(call[1]);
        if (elements(shape) != elements(unwrap_tensor(call[0], "reshape")->shape))
            throw invalid("Expected a shape of as many elements as ", unwrap_tensor(call[0], "reshape")->shape,
                          " but received ", shape);
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
        out.Set("uploads", static_cast<double>(engine.uploads()));
        out.Set("waits", static_cast<double>(engine.waits()));
        out.Set("lost", engine.is_lost());
        return out;
    }
    // Gives kept memory back once everything queued has run; the engine is closed when the last handle has gone. One
    // that a device error has ended has given everything back.
    Napi::Value dispose(const Napi::CallbackInfo& call) {
        const EngineRef engine = take(call.Env());
        const Napi::Promise::Deferred done(call.Env());
        const auto settle = [done](Napi::Env env, const Error*) { done.Resolve(env.Undefined()); };
        if (engine)
            submit(engine, Command{[state = engine.get()] { state->engine.release(); }, {}, settle, {}});
        else
            settle(call.Env(), nullptr);
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
