// safetensors and JSON for TypeScript, without a model.
#include <cstring>

#include "../core/safetensors.h"
#include "binding.h"

namespace vin {

// Objects whose keys come from files have no prototype: a tensor named __proto__ is data.
static Napi::Object null_object(Napi::Env env) {
    const Napi::Object object = env.Global().Get("Object").As<Napi::Object>();
    return object.Get("create").As<Napi::Function>().Call(object, {env.Null()}).As<Napi::Object>();
}

static void set_own(Napi::Env env, Napi::Object& object, const std::string& key, const Napi::Value& value) {
    object.DefineProperty(Napi::PropertyDescriptor::Value(
        Napi::String::New(env, key), value,
        static_cast<napi_property_attributes>(napi_writable | napi_enumerable | napi_configurable)));
}

Napi::Value read_safetensors_js(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const Napi::Object options = options_at(info, 1);
    const bool header_only = flag(options, "headerOnly", false);
    const SafetensorsLimits limits = limits_from_js(options);
    SafetensorsFile file = [&] {
        if (info[0].IsString()) return SafetensorsFile::open(info[0].As<Napi::String>().Utf8Value(), limits);
        if (!info[0].IsTypedArray()) throw invalid("Expected a path or a Uint8Array of a safetensors file");
        const Napi::Uint8Array array = info[0].As<Napi::Uint8Array>();
        return SafetensorsFile::from_bytes(array.Data(), array.ByteLength(), "buffer", limits);
    }();
    Napi::Object tensors = null_object(env), metadata = null_object(env);
    for (const StoredTensor& stored : file.tensors()) {
        Napi::Object entry = Napi::Object::New(env);
        entry.Set("dtype", name_of(stored.dtype));
        entry.Set("shape", shape_to_js(env, stored.shape));
        if (!header_only) {
            const auto data = [&](auto array, const auto& read) {
                read(array.Data());
                entry.Set("data", array);
            };
            const auto convert = [&](auto* out) { file.read(stored, out); };
            const size_t n = static_cast<size_t>(stored.count);
            switch (stored.dtype) {
                case FileDtype::U8:
                    data(Napi::Uint8Array::New(env, n), [&](uint8_t* out) { file.read_bytes(stored, out); });
                    break;
                case FileDtype::F64:
                case FileDtype::I64:
                case FileDtype::I32: data(Napi::Float64Array::New(env, n), convert); break;
                default: data(Napi::Float32Array::New(env, n), convert);
            }
        }
        set_own(env, tensors, stored.name, entry);
    }
    for (const auto& item : file.metadata()) set_own(env, metadata, item.first, Napi::String::New(env, item.second));
    Napi::Object out = Napi::Object::New(env);
    out.Set("tensors", tensors);
    out.Set("metadata", metadata);
    return out;
}

Napi::Value write_safetensors_js(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const std::string path = info[0].ToString().Utf8Value();
    const Napi::Object tensors = info[1].As<Napi::Object>();
    std::vector<TensorToWrite> entries;
    for (const std::string& name : strings(tensors.GetPropertyNames(), "tensor names")) {
        const Napi::Object given = tensors.Get(name).As<Napi::Object>();
        TensorToWrite entry;
        entry.name = name;
        entry.shape = integers(given.Get("shape"), "shape");
        const Napi::Value data = given.Get("data");
        if (!data.IsTypedArray()) throw invalid("Expected a typed array for the data of ", name);
        const Napi::TypedArray array = data.As<Napi::TypedArray>();
        const int64_t count = elements(entry.shape);
        if (count != static_cast<int64_t>(array.ElementLength()))
            throw invalid("Expected ", count, " values for ", name, " of shape ", entry.shape, " but received ",
                          array.ElementLength());
        static const std::map<int32_t, FileDtype> others = {
            {VIN_DTYPE_F64, FileDtype::F64}, {VIN_DTYPE_I32, FileDtype::I32}, {VIN_DTYPE_U8, FileDtype::U8}};
        if (const int32_t dtype = dtype_of(array, "for " + name); dtype != VIN_DTYPE_F32) {
            entry.dtype = others.at(dtype);
            entry.bytes = bytes_of(array);
        } else {
            const std::string stored = text(given, "dtype", "");
            entry.dtype = stored == "bfloat16"  ? FileDtype::BF16
                          : stored == "float16" ? FileDtype::F16
                                                : FileDtype::F32;
            entry.values = values_at(reinterpret_cast<const float*>(bytes_of(array)));
        }
        entries.push_back(std::move(entry));
    }
    std::vector<std::pair<std::string, std::string>> metadata;
    if (info.Length() > 2 && info[2].IsObject()) {
        const Napi::Object given = info[2].As<Napi::Object>();
        for (const std::string& key : strings(given.GetPropertyNames(), "metadata"))
            metadata.push_back({key, given.Get(key).ToString().Utf8Value()});
    }
    write_safetensors(path, std::move(entries), metadata);
    return env.Undefined();
}

Napi::Value json_to_js(Napi::Env env, const Json& json, bool own_keys) {
    if (json.is_null()) return env.Null();
    if (const bool* boolean = json.boolean()) return Napi::Boolean::New(env, *boolean);
    if (const JsonNumber* number = json.number()) return Napi::Number::New(env, number->value);
    if (const std::string* text = json.text()) return Napi::String::New(env, *text);
    if (const JsonArray* array = json.array()) {
        Napi::Array out = Napi::Array::New(env, array->size());
        for (size_t i = 0; i < array->size(); i++) {
            Napi::HandleScope scope(env);
            out.Set(static_cast<uint32_t>(i), json_to_js(env, (*array)[i], own_keys));
        }
        return out;
    }
    Napi::Object out = own_keys ? Napi::Object::New(env) : null_object(env);
    for (const JsonMember& member : json.object()->members()) {
        Napi::HandleScope scope(env);
        set_own(env, out, member.first, json_to_js(env, member.second, own_keys));
    }
    return out;
}

Napi::Value parse_json_js(const Napi::CallbackInfo& info) {
    if (!info[0].IsTypedArray()) throw invalid("Expected the bytes of a JSON file");
    const Napi::Uint8Array bytes = info[0].As<Napi::Uint8Array>();
    JsonLimits limits;
    if (info.Length() > 2 && info[2].IsObject()) {
        const Napi::Object given = info[2].As<Napi::Object>();
        limits.depth = static_cast<size_t>(number(given, "depth", static_cast<double>(limits.depth)));
        limits.bytes = static_cast<size_t>(number(given, "bytes", static_cast<double>(limits.bytes)));
        limits.nonfinite = given.Get("nonfinite").ToBoolean();
    }
    return json_to_js(info.Env(), parse_json(reinterpret_cast<const char*>(bytes.Data()), bytes.ByteLength(),
                                             info[1].ToString().Utf8Value(), limits));
}

}  // namespace vin
