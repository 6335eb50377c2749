// Tensor and Cancel as JavaScript classes.
#include <cstring>

#include "../ops/ops.h"
#include "door.h"

namespace vin {

class TensorWrap : public Napi::ObjectWrap<TensorWrap> {
public:
    explicit TensorWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<TensorWrap>(info) {
        if (info.Length() != 1 || !info[0].IsExternal())
            throw Napi::TypeError::New(info.Env(), "Expected a Tensor to be made by an engine");
        handle_ = *info[0].As<Napi::External<HandleRef>>().Data();
        told_ = static_cast<int64_t>(handle_->bytes());
        Napi::MemoryManagement::AdjustExternalMemory(info.Env(), told_);
    }
    void Finalize(Napi::BasicEnv env) override {
        if (told_) Napi::MemoryManagement::AdjustExternalMemory(env, -told_);
    }
    const HandleRef& handle() const {
        if (!handle_) throw Error("VIN_DISPOSED", "Expected a live tensor but it was disposed");
        return handle_;
    }

    Napi::Value shape(const Napi::CallbackInfo& info) {
        return guarded(info.Env(), [&]() -> Napi::Value { return shape_to_js(info.Env(), handle()->shape); });
    }
    Napi::Value dtype(const Napi::CallbackInfo& info) {
        return guarded(info.Env(),
                       [&]() -> Napi::Value { return Napi::String::New(info.Env(), dtype_name(handle()->dtype)); });
    }
    Napi::Value ready(const Napi::CallbackInfo& info) {
        return guarded(info.Env(), [&]() -> Napi::Value {
            const HandleRef handle = this->handle();
            return promise(info.Env(), handle->engine, nullptr, [handle] { handle->value(); }, nullptr);
        });
    }
    Napi::Value read(const Napi::CallbackInfo& info) {
        return guarded(info.Env(), [&]() -> Napi::Value {
            const HandleRef handle = this->handle();
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
                engine.download(bytes->data(), tensor.view().data, bytes->size());
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
            return promise(info.Env(), handle->engine, nullptr, work, result);
        });
    }
    Napi::Value dispose(const Napi::CallbackInfo& info) {
        if (handle_) {
            // The memory goes back behind the commands that use it: they hold the handle too.
            handle_.reset();
            Napi::MemoryManagement::AdjustExternalMemory(info.Env(), -told_);
            told_ = 0;
        }
        return info.Env().Undefined();
    }

private:
    HandleRef handle_;
    int64_t told_ = 0;
};

class CancelWrap : public Napi::ObjectWrap<CancelWrap> {
public:
    explicit CancelWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<CancelWrap>(info) {}
    Napi::Value cancel(const Napi::CallbackInfo& info) {
        state->requested = true;
        return info.Env().Undefined();
    }
    std::shared_ptr<Cancel> state = std::make_shared<Cancel>();
};

// A tag tells our objects from others that look alike.
static const napi_type_tag tensor_tag = {0x76696e2d6e617469, 0x74656e736f720001};
static const napi_type_tag cancel_tag = {0x76696e2d6e617469, 0x63616e63656c0001};

Napi::Function define_tensor(Napi::Env env) {
    return TensorWrap::DefineClass(env, "NativeTensor",
                                   {TensorWrap::InstanceAccessor<&TensorWrap::shape>("shape"),
                                    TensorWrap::InstanceAccessor<&TensorWrap::dtype>("dtype"),
                                    TensorWrap::InstanceMethod<&TensorWrap::ready>("ready"),
                                    TensorWrap::InstanceMethod<&TensorWrap::read>("read"),
                                    TensorWrap::InstanceMethod<&TensorWrap::dispose>("dispose")});
}

Napi::Function define_cancel(Napi::Env env) {
    return CancelWrap::DefineClass(env, "NativeCancel", {CancelWrap::InstanceMethod<&CancelWrap::cancel>("cancel")});
}

Napi::Object wrap_tensor(Napi::Env env, HandleRef handle) {
    Napi::Object object = classes(env).tensor.New({Napi::External<HandleRef>::New(env, &handle)});
    object.TypeTag(&tensor_tag);
    return object;
}

HandleRef unwrap_tensor(const Napi::Value& value, const char* what) {
    if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&tensor_tag))
        throw Error("VIN_INVALID", std::string("Expected a tensor of the engine for ") + what);
    return TensorWrap::Unwrap(value.As<Napi::Object>())->handle();
}

HandleRef optional_tensor(const Napi::Object& object, const char* key) {
    return has(object, key) ? unwrap_tensor(object.Get(key), key) : nullptr;
}

Napi::Object wrap_cancel(Napi::Env env) {
    Napi::Object object = classes(env).cancel.New({});
    object.TypeTag(&cancel_tag);
    return object;
}

std::shared_ptr<Cancel> optional_cancel(const Napi::Object& object) {
    if (!has(object, "cancel")) return nullptr;
    const Napi::Value value = object.Get("cancel");
    if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&cancel_tag))
        throw Error("VIN_INVALID", "Expected a cancel flag of the engine for cancel");
    return CancelWrap::Unwrap(value.As<Napi::Object>())->state;
}

}  // namespace vin
