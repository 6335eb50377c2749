// Tensor and Cancel as JavaScript classes.
#include <cstring>

#include "../ops/ops.h"
#include "binding.h"

namespace vin {

class TensorWrap : public Wrapper<TensorWrap, HandleRef> {
public:
    static constexpr auto name = "NativeTensor", what = "a live tensor";
    static constexpr uint64_t tag = 0x74656e736f720001;
    static size_t outside_bytes(const HandleRef& handle) { return handle->bytes(); }
    using Wrapper::Wrapper;

    static void define(Napi::Env env) {
        Wrapper::define(env, {getter<&TensorWrap::shape>("shape"), getter<&TensorWrap::dtype>("dtype"),
                              method<&TensorWrap::ready>("ready"), method<&TensorWrap::read>("read"),
                              method<&TensorWrap::dispose>("dispose")});
    }

    Napi::Value shape(const Napi::CallbackInfo& info) { return shape_to_js(info.Env(), held()->shape); }
    Napi::Value dtype(const Napi::CallbackInfo& info) {
        return Napi::String::New(info.Env(), dtype_name(held()->dtype));
    }
    Napi::Value ready(const Napi::CallbackInfo& info) {
        const HandleRef handle = held();
        return promise(info.Env(), handle->engine, [handle] { handle->value(); });
    }
    Napi::Value read(const Napi::CallbackInfo& info) {
        const HandleRef handle = held();
        auto bytes = std::make_shared<std::vector<char>>();
        const bool half = handle->dtype == VIN_DTYPE_BF16 || handle->dtype == VIN_DTYPE_F16;
        const int32_t dtype = half ? VIN_DTYPE_F32 : handle->dtype;
        const auto work = [handle, bytes, dtype] {
            Engine& engine = handle->engine->engine;
            Tensor tensor = handle->value();
            Ops ops = engine.direct(nullptr);
            if (!tensor.contiguous() || tensor.dtype() != dtype) {
                const Tensor dense = ops.empty(tensor.shape(), dtype);
                copy_into(ops, dense, tensor);
                tensor = dense;
            }
            bytes->resize(static_cast<size_t>(tensor.numel()) * dtype_bytes(dtype));
            engine.fetch(bytes->data(), tensor.view().data, bytes->size());
        };
        const auto result = [handle, bytes, dtype](Napi::Env env) -> Napi::Value {
            Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(env, bytes->size());
            if (!bytes->empty()) std::memcpy(buffer.Data(), bytes->data(), bytes->size());
            const size_t n = bytes->size() / dtype_bytes(dtype);
            Napi::Object out = Napi::Object::New(env);
            if (dtype == VIN_DTYPE_F32)
                out.Set("data", Napi::Float32Array::New(env, n, buffer, 0));
            else if (dtype == VIN_DTYPE_F64)
                out.Set("data", Napi::Float64Array::New(env, n, buffer, 0));
            else if (dtype == VIN_DTYPE_I32)
                out.Set("data", Napi::Int32Array::New(env, n, buffer, 0));
            else
                out.Set("data", Napi::Uint8Array::New(env, n, buffer, 0));
            out.Set("shape", shape_to_js(env, handle->shape));
            return out;
        };
        return promise(info.Env(), handle->engine, work, nullptr, result);
    }
};

class CancelWrap : public Wrapper<CancelWrap, std::shared_ptr<Cancel>> {
public:
    static constexpr auto name = "NativeCancel", what = "a live cancel flag";
    static constexpr uint64_t tag = 0x63616e63656c0001;
    using Wrapper::Wrapper;

    static void define(Napi::Env env) { Wrapper::define(env, {method<&CancelWrap::cancel>("cancel")}); }
    Napi::Value cancel(const Napi::CallbackInfo& info) {
        held()->requested = true;
        return info.Env().Undefined();
    }
};

void define_tensor(Napi::Env env) {
    TensorWrap::define(env);
    CancelWrap::define(env);
}

Napi::Object wrap_tensor(Napi::Env env, const HandleRef& handle) { return TensorWrap::wrap(env, handle); }

Napi::Object wrap_tensor(Napi::Env env, const EngineRef& engine, const Tensor& tensor) {
    const HandleRef handle = new_handle(engine, tensor.shape());
    handle->tensor = tensor;
    return wrap_tensor(env, handle);
}

HandleRef unwrap_tensor(const Napi::Value& value, const char* what) {
    if (!TensorWrap::is(value)) throw invalid("Expected a tensor of the engine for ", what);
    return TensorWrap::unwrap(value);
}

HandleRef optional_tensor(const Napi::Object& object, const char* key) {
    return has(object, key) ? unwrap_tensor(object.Get(key), key) : nullptr;
}

Napi::Value new_cancel(const Napi::CallbackInfo& info, const EngineRef&) {
    return CancelWrap::wrap(info.Env(), std::make_shared<Cancel>());
}

std::shared_ptr<Cancel> optional_cancel(const Napi::Object& object) {
    if (!has(object, "cancel")) return nullptr;
    if (!CancelWrap::is(object.Get("cancel"))) throw invalid("Expected a cancel flag of the engine for cancel");
    return CancelWrap::unwrap(object.Get("cancel"));
}

}  // namespace vin
