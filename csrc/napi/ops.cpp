// Every op of ops.def by name, for tests and for the arithmetic of schedulers. The description comes from the same list
// as the table.
#include <cstddef>
#include <cstring>

#include "binding.h"

namespace vin {

struct Field {
    const char* name;
    const char* kind;  // out in opt i32 f32 f64
    size_t offset;
};

struct OpEntry {
    const char* name;
    size_t size;
    std::vector<Field> fields;
    void (*invoke)(Ops& ops, const void* args);
};

static const std::vector<OpEntry>& table() {
    static const std::vector<OpEntry> ops = {
#define VIN_OUT(field) Field{#field, "out", offsetof(Args, field)},
#define VIN_IN(field) Field{#field, "in", offsetof(Args, field)},
#define VIN_OPT(field) Field{#field, "opt", offsetof(Args, field)},
#define VIN_I32(field) Field{#field, "i32", offsetof(Args, field)},
#define VIN_F32(field) Field{#field, "f32", offsetof(Args, field)},
#define VIN_F64(field) Field{#field, "f64", offsetof(Args, field)},
#define VIN_OP(op, list) \
    [] { \
        using Args = vin_##op##_args; \
        return OpEntry{#op, sizeof(Args), {list}, [](Ops& ops, const void* args) { \
                           call(ops, *static_cast<const Args*>(args)); \
                       }}; \
    }(),
#include "../ops.def"
#undef VIN_OP
#undef VIN_OUT
#undef VIN_IN
#undef VIN_OPT
#undef VIN_I32
#undef VIN_F32
#undef VIN_F64
    };
    return ops;
}

Napi::Value describe_ops(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    Napi::Array list = Napi::Array::New(env);
    for (const OpEntry& op : table()) {
        Napi::Array fields = Napi::Array::New(env);
        for (const Field& field : op.fields) {
            Napi::Object f = Napi::Object::New(env);
            f.Set("name", field.name);
            f.Set("kind", field.kind);
            fields.Set(fields.Length(), f);
        }
        Napi::Object entry = Napi::Object::New(env);
        entry.Set("name", op.name);
        entry.Set("fields", fields);
        list.Set(list.Length(), entry);
    }
    return list;
}

Napi::Value call_op_js(const Napi::CallbackInfo& info, const EngineRef& engine) {
    const Napi::Env env = info.Env();
    if (!info[0].IsString() || !info[1].IsObject()) throw invalid("Expected the name of an op and its arguments");
    const std::string name = info[0].As<Napi::String>().Utf8Value();
    const OpEntry* op = nullptr;
    for (const OpEntry& candidate : table())
        if (name == candidate.name) op = &candidate;
    if (!op) throw invalid("Expected an op of ops.def but received ", name);

    const Napi::Object given = info[1].As<Napi::Object>();
    for (const auto& key : strings(given.GetPropertyNames(), "fields")) {
        bool known = false;
        for (const Field& field : op->fields) known = known || key == field.name;
        if (!known) throw invalid("Expected a field of the op ", name, " but received ", key);
    }
    const double times = info[2].IsNumber() ? info[2].As<Napi::Number>().DoubleValue() : 1;
    if (!(times >= 1 && times <= 1e9))
        throw invalid("Expected to call the op ", name, " at least once but received ", times);
    auto args = std::make_shared<std::vector<char>>(op->size, 0);
    struct Operand {
        size_t offset;
        HandleRef handle;
        bool made;  // by this call
    };
    auto operands = std::make_shared<std::vector<Operand>>();
    Command command;
    Napi::Object outputs = Napi::Object::New(env);
    for (const Field& field : op->fields) {
        const std::string kind = field.kind;
        const Napi::Value value = given.Get(field.name);
        const bool absent = value.IsUndefined() || value.IsNull();
        if (kind == "i32" || kind == "f32" || kind == "f64") {
            const double number = required_number(given, field.name);
            if (kind == "i32") {
                const int32_t v = static_cast<int32_t>(
                    static_cast<int64_t>(number));  // unsigned words of a seed arrive as their low 32 bits
                std::memcpy(args->data() + field.offset, &v, sizeof v);
            } else if (kind == "f32") {
                const float v = static_cast<float>(number);
                std::memcpy(args->data() + field.offset, &v, sizeof v);
            } else {
                std::memcpy(args->data() + field.offset, &number, sizeof number);
            }
            continue;
        }
        if (absent) {
            if (kind == "in") throw invalid("Expected a tensor for ", field.name, " of ", name);
            continue;
        }
        // An output is described by { shape, dtype } or given as a tensor that is written in place.
        bool described = false;
        if (kind == "out" && value.IsObject()) {
            const Napi::Object object = value.As<Napi::Object>();
            described = !object.Get("read").IsFunction();
        }
        if (described) {
            const Napi::Object object = value.As<Napi::Object>();
            const HandleRef handle =
                new_handle(engine, shape_from_js(object.Get("shape")), dtype_from_js(text(object, "dtype", "float32")));
            operands->push_back({field.offset, handle, true});
            command.outputs.push_back(handle);
            outputs.Set(field.name, wrap_tensor(env, handle));
        } else {
            const HandleRef handle = unwrap_tensor(value, field.name);
            if (handle->engine != engine)
                throw invalid("Expected tensors of one engine but ", field.name, " belongs to another");
            operands->push_back({field.offset, handle, false});
            if (kind == "out") {
                command.outputs.push_back(
                    handle);  // what stands in it after a failure is undefined: its handle fails alike
                outputs.Set(field.name, value);
            }
        }
    }
    EngineState* state = engine.get();
    command.work = [op, args, operands, state, times] {
        Ops ops = state->engine.direct(nullptr);
        for (Operand& operand : *operands) {
            if (operand.made) operand.handle->tensor = ops.empty(operand.handle->shape, operand.handle->dtype);
            const vin_tensor view = operand.handle->value().view();
            std::memcpy(args->data() + operand.offset, &view, sizeof view);
        }
        for (int64_t i = 0; i < static_cast<int64_t>(times); i++) op->invoke(ops, args->data());
    };
    submit(engine, std::move(command));
    return outputs;
}

}  // namespace vin
