// Values and errors, from JavaScript and to it.
#include "binding.h"

#include <cmath>

namespace vin {

static Napi::Object details_to_js(Napi::Env env, const ErrorDetails& given) {
    Napi::Object details = Napi::Object::New(env);
    for (const auto& detail : given) {
        // Numbers arrive as decimal text; names that only look like one ("nan", "0x10") stay text.
        const std::string& value = detail.second;
        const bool decimal = !value.empty() && value.find_first_not_of("0123456789.-") == std::string::npos;
        char* end = nullptr;
        const double parsed = decimal ? std::strtod(value.c_str(), &end) : 0;
        if (decimal && *end == 0)
            details.Set(detail.first, parsed);
        else
            details.Set(detail.first, value);
    }
    return details;
}

// The one table of codes: VIN_INVALID is a wrong argument; VIN_ABORTED ends with the reason of a signal, which only
// TypeScript knows; any other VIN_X is ERR_VIN_X. Without the library's classes these are plain errors.
Napi::Error to_js(Napi::Env env, const Error& error) {
    const Environment& own = environment(env);
    const auto made = [env](const Napi::FunctionReference& reference, const std::string& text,
                            const std::vector<napi_value>& arguments) {
        const Napi::Function type = reference.Value();
        return type.IsEmpty() ? Napi::Error::New(env, text) : Napi::Error(env, type.New(arguments));
    };
    const auto string = [env](const std::string& text) { return Napi::String::New(env, text); };
    if (error.code == "VIN_ABORTED") {
        const std::string text = "This operation was aborted";
        return made(own.abort_error, text, {string(text), string("AbortError")});
    }
    if (error.code == "VIN_INVALID") {
        Napi::Error thrown = made(own.range_error, error.text, {string(error.text)});
        thrown.Set("code", "ERR_OUT_OF_RANGE");
        return thrown;
    }
    const Napi::String code = string(error.code == "VIN_DEVICE_ERROR" ? "ERR_VIN_DEVICE" : "ERR_" + error.code);
    const Napi::Object details = details_to_js(env, error.details);
    Napi::Error thrown = made(own.vin_error, error.text, {code, string(error.text), details});
    thrown.Set("code", code);
    thrown.Set("details", details);
    return thrown;
}

const char* bytes_of(const Napi::TypedArray& array) {
    void* data = nullptr;
    napi_get_typedarray_info(array.Env(), array, nullptr, nullptr, &data, nullptr, nullptr);
    return static_cast<const char*>(data);
}

Napi::Array shape_to_js(Napi::Env env, const Shape& shape) {
    Napi::Array array = Napi::Array::New(env, shape.size());
    for (size_t i = 0; i < shape.size(); i++)
        array.Set(static_cast<uint32_t>(i), Napi::Number::New(env, static_cast<double>(shape[i])));
    return array;
}

std::vector<Napi::Value> items(const Napi::Value& value, const char* what) {
    if (!value.IsArray()) throw invalid("Expected an array ", what);
    const Napi::Array array = value.As<Napi::Array>();
    std::vector<Napi::Value> out;
    for (uint32_t i = 0; i < array.Length(); i++) out.push_back(array.Get(i));
    return out;
}

std::vector<int64_t> integers(const Napi::Value& value, const char* what) {
    std::vector<int64_t> out;
    for (const Napi::Value& item : items(value, concat("of integers for ", what).c_str())) {
        const double number = item.IsNumber() ? item.As<Napi::Number>().DoubleValue() : 0.5;
        out.push_back(static_cast<int64_t>(number));
        if (number != static_cast<double>(out.back())) throw invalid("Expected an array of integers for ", what);
    }
    return out;
}

Shape shape_from_js(const Napi::Value& value) {
    Shape shape = integers(value, "a shape");
    if (shape.size() > VIN_MAX_RANK) throw invalid("Expected a shape of rank 5 or less but found ", shape);
    elements(shape);
    return shape;
}

std::vector<std::string> strings(const Napi::Value& value, const char* what) {
    std::vector<std::string> out;
    for (const Napi::Value& item : items(value, concat("of strings for ", what).c_str())) {
        if (!item.IsString()) throw invalid("Expected an array of strings for ", what);
        out.push_back(item.As<Napi::String>().Utf8Value());
    }
    return out;
}

int32_t dtype_from_js(const std::string& name) {
    for (int32_t dtype = VIN_DTYPE_F32; dtype <= VIN_DTYPE_F64; dtype++)
        if (name == dtype_name(dtype)) return dtype;
    throw invalid("Expected a dtype float32, bfloat16, float16, int32, uint8 or float64 but received ", name);
}

int32_t dtype_of(const Napi::TypedArray& array, const std::string& what) {
    switch (array.TypedArrayType()) {
        case napi_float32_array: return VIN_DTYPE_F32;
        case napi_float64_array: return VIN_DTYPE_F64;
        case napi_int32_array: return VIN_DTYPE_I32;
        case napi_uint8_array:
        case napi_uint8_clamped_array: return VIN_DTYPE_U8;
        default: throw invalid("Expected a Float32Array, Float64Array, Int32Array or Uint8Array ", what);
    }
}

Napi::Object options_at(const Napi::CallbackInfo& info, size_t index) {
    return info[index].IsObject() ? info[index].As<Napi::Object>() : Napi::Object::New(info.Env());
}

bool has(const Napi::Object& object, const char* key) {
    const Napi::Value value = object.Get(key);
    return !value.IsUndefined() && !value.IsNull();
}

double required_number(const Napi::Object& object, const char* key) {
    const Napi::Value value = object.Get(key);
    if (!value.IsNumber()) throw invalid("Expected a number for ", key);
    return value.As<Napi::Number>().DoubleValue();
}

int64_t required_integer(const Napi::Object& object, const char* key) {
    return static_cast<int64_t>(required_number(object, key));
}

double number(const Napi::Object& object, const char* key, double fallback) {
    return has(object, key) ? required_number(object, key) : fallback;
}

bool flag(const Napi::Object& object, const char* key, bool fallback) {
    if (!has(object, key)) return fallback;
    const Napi::Value value = object.Get(key);
    if (!value.IsBoolean()) throw invalid("Expected a boolean for ", key);
    return value.As<Napi::Boolean>().Value();
}

std::string text(const Napi::Object& object, const char* key, const std::string& fallback) {
    if (!has(object, key)) return fallback;
    const Napi::Value value = object.Get(key);
    if (!value.IsString()) throw invalid("Expected a string for ", key);
    return value.As<Napi::String>().Utf8Value();
}

SafetensorsLimits limits_from_js(const Napi::Object& options) {
    SafetensorsLimits limits;
    if (!has(options, "limits")) return limits;
    const Napi::Object given = options.Get("limits").As<Napi::Object>();
    const auto limit = [&](const char* key, uint64_t fallback) {
        const double value = number(given, key, static_cast<double>(fallback));
        if (!(value >= 0 && value <= 9007199254740992.0))
            throw invalid("Expected a number from 0 to 2^53 for limits.", key);
        return static_cast<uint64_t>(value);
    };
    limits.header_bytes = limit("headerBytes", limits.header_bytes);
    limits.tensors = limit("tensors", limits.tensors);
    limits.name_bytes = limit("nameBytes", limits.name_bytes);
    limits.rank = limit("rank", limits.rank);
    return limits;
}

static Json json_from_js(const Napi::Value& value, const std::string& file, size_t depth) {
    if (value.IsNull()) return {};
    if (value.IsBoolean()) return value.As<Napi::Boolean>().Value();
    if (value.IsString()) return value.As<Napi::String>().Utf8Value();
    if (value.IsNumber()) {
        const double number = value.As<Napi::Number>().DoubleValue();
        const bool whole = number == std::floor(number) && std::fabs(number) <= 9007199254740991.0;
        return whole ? Json(static_cast<int64_t>(number)) : Json(number);
    }
    // What JSON has no word for is kept as its own text, so that whoever asks for the value refuses it.
    if (!value.IsObject() || value.IsFunction()) return value.ToString().Utf8Value();
    const size_t most = JsonLimits().depth;
    if (depth == most)
        throw Error("VIN_FORMAT",
                    concat(file, ": expected at most ", most, " nested arrays and objects but found more"));
    const Napi::HandleScope scope(value.Env());
    if (value.IsArray()) {
        JsonArray out;
        for (const Napi::Value& item : items(value, "")) out.push_back(json_from_js(item, file, depth + 1));
        return out;
    }
    const Napi::Object object = value.As<Napi::Object>();
    JsonObject out;
    for (const Napi::Value& name : items(object.GetPropertyNames(), "")) {
        const std::string key = name.ToString().Utf8Value();
        const Napi::Value member = object.Get(key);
        if (!member.IsUndefined()) out.set(key, json_from_js(member, file, depth + 1));
    }
    return out;
}
Json json_from_js(const Napi::Value& value, const std::string& file) { return json_from_js(value, file, 0); }

}  // namespace vin
