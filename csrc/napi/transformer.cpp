// The transformer as a JavaScript class.
#include "../models/denoise.h"
#include "model.h"
#include "request.h"

namespace vin {

static Napi::Value denoise_js(const Napi::CallbackInfo& info, const ModelRef& model) {
    const PendingEvaluation pending = evaluation_from_js(info[0].As<Napi::Object>(), *model->model.transformer);
    const HandleRef eps = new_handle(model->engine, pending.latents.shape);
    return submit(info.Env(), eps, pending.cancel, [=](Engine& engine) {
        const DenoiseRequest r = pending.resolved();
        const Tensor out = Tensor::allocate(engine.memory(), eps->shape);
        const Tensor flags = Tensor::allocate(engine.memory(), {finite_flags_needed(r)}, VIN_DTYPE_I32);
        engine.planned(plan_key(*model->model.transformer, r), pending.cancel.get(), pending.tasks_in_flight,
                       [&](Ops& ops) { denoise(ops, *model->model.transformer, r, out, flags); });
        check_finite_flags(engine, flags, *model->model.transformer);
        return out;
    });
}

static Napi::Value trace_js(const Napi::CallbackInfo& info, const ModelRef& model) {
    const Transformer& m = *model->model.transformer;
    const PendingEvaluation pending = evaluation_from_js(info[0].As<Napi::Object>(), m);
    const Shape& x = pending.latents.shape;
    const int64_t S = ((x[2] + 1) / 2) * ((x[3] + 1) / 2);
    Napi::Object out = Napi::Object::New(info.Env());
    Command command;
    const auto output = [&](const char* name, const Shape& shape) {
        const HandleRef handle = new_handle(model->engine, shape);
        command.outputs.push_back(handle);
        if (name) out.Set(name, wrap_tensor(info.Env(), handle));
        return handle;
    };
    const HandleRef eps = output("output", x);
    const HandleRef t_vec = output("t_vec", {m.config.hidden_size}),
                    tokens = output("video_tokens", {x[1], S, m.config.hidden_size});
    HandleRef Z, z;
    if (pending.request.use_global_tokens) {
        Z = output("global_tokens", {m.config.vin.num_global_tokens, m.config.vin.dim});
        z = output("global_tokens_projected", {m.config.vin.num_global_tokens, m.config.hidden_size});
    }
    Napi::Array list = Napi::Array::New(info.Env());
    std::vector<HandleRef> chunks;
    for (const Chunk& chunk : pending.request.chunks) {
        chunks.push_back(output(nullptr, {x[0], chunk.end - chunk.first, x[2], x[3]}));
        list.Set(list.Length(), wrap_tensor(info.Env(), chunks.back()));
    }
    out.Set("chunks", list);
    command.cancel = pending.cancel;
    command.work = [=] {
        Engine& engine = model->engine->engine;
        Ops ops = engine.direct(pending.cancel.get());
        const DenoiseRequest r = pending.resolved();
        DenoiseTrace seen;
        const Tensor result = ops.empty(eps->shape);
        denoise(ops, *model->model.transformer, r, result, {}, &seen);
        eps->tensor = result;
        t_vec->tensor = seen.t_vec.slice(0, 0, 1).reshape(t_vec->shape);
        tokens->tensor = seen.video_tokens;
        if (Z) {
            Z->tensor = seen.global_tokens;
            z->tensor = seen.global_tokens_projected;
        }
        for (size_t i = 0; i < chunks.size(); i++) {
            chunks[i]->tensor = seen.chunks[i];
            if (!seen.chunks[i])
                chunks[i]->fail(Error("VIN_INVALID", "This chunk owns only conditioning frames and was not evaluated"));
        }
    };
    submit(model->engine, std::move(command));
    return out;
}

static Napi::Value forward_js(const Napi::CallbackInfo& info, const ModelRef& model) {
    const Transformer& m = *model->model.transformer;
    const PendingEvaluation pending = evaluation_from_js(info[0].As<Napi::Object>(), m);
    const Shape& x = pending.latents.shape;
    const HandleRef out = new_handle(model->engine, {m.config.out_channels(), x[1], x[2], x[3]});
    return submit(info.Env(), out, pending.cancel, [=](Engine& engine) {
        const DenoiseRequest r = pending.resolved();
        const Transformer& m = *model->model.transformer;
        return planned(engine, PlanKey("forward", m.weights.id()).add(r.latents).add(r.text).add(r.frame_mask),
                       pending.cancel, out->shape, [&](Ops& ops, const Tensor& y) { forward(ops, m, r, y); });
    });
}

static Napi::Value first_input_js(const Napi::CallbackInfo& info, const ModelRef& model) {
    const Transformer& m = *model->model.transformer;
    const PendingEvaluation pending = evaluation_from_js(info[0].As<Napi::Object>(), m);
    const Shape& x = pending.latents.shape;
    const HandleRef out = new_handle(model->engine, {x[1] * ((x[2] + 1) / 2) * ((x[3] + 1) / 2), m.config.hidden_size});
    return submit(info.Env(), out, pending.cancel, [=](Engine& engine) {
        const DenoiseRequest r = pending.resolved();
        const Transformer& m = *model->model.transformer;
        PlanKey key("firstInput", m.weights.id());
        key.add(r.latents).add(r.frame_mask).add(times_of_rows(r));
        return planned(engine, key, pending.cancel, out->shape,
                       [&](Ops& ops, const Tensor& y) { copy_into(ops, y, first_input(ops, m, r)); });
    });
}

static Napi::Value attention_js(const Napi::CallbackInfo& info, const ModelRef& model) {
    const Transformer& m = *model->model.transformer;
    const PendingEvaluation pending = evaluation_from_js(info[0].As<Napi::Object>(), m);
    if (!pending.request.use_global_tokens) throw invalid("Expected keyframes for the attention of global tokens");
    const Shape& x = pending.latents.shape;
    const int64_t keys = static_cast<int64_t>(pending.request.keyframes.size()) * ((x[2] + 1) / 2) * ((x[3] + 1) / 2),
                  heads = m.config.vin.num_heads;
    const int64_t text_rows = pending.request.vin_text_rows ? pending.request.vin_text_rows : pending.text.shape[0],
                  rows = m.config.vin.num_global_tokens + text_rows;
    Command command;
    const HandleRef encoder = new_handle(model->engine, {heads, m.config.vin.num_global_tokens, keys});
    std::vector<HandleRef> processor;
    Napi::Array list = Napi::Array::New(info.Env());
    for (int64_t b = 0; b < m.config.vin.num_blocks; b++) {
        processor.push_back(new_handle(model->engine, {heads, rows, rows}));
        list.Set(list.Length(), wrap_tensor(info.Env(), processor.back()));
    }
    Napi::Object out = Napi::Object::New(info.Env());
    out.Set("encoder", wrap_tensor(info.Env(), encoder));
    out.Set("processor", list);
    command.outputs = processor;
    command.outputs.push_back(encoder);
    command.cancel = pending.cancel;
    command.work = [=] {
        Engine& engine = model->engine->engine;
        const Transformer& m = *model->model.transformer;
        Ops ops = engine.direct(pending.cancel.get());
        const DenoiseRequest r = pending.resolved();
        const Tensor tokens =
            video_tokens(ops, m, r.global_tokens_from ? r.global_tokens_from : r.latents, 1, r.height, r.width);
        const GlobalAttention seen =
            global_attention(ops, m, tokens, r.keyframes, one_of_batch(r.text.slice(0, 0, text_rows)),
                             time_vector(ops, m, {static_cast<float>(r.timestep)}, {static_cast<float>(r.fps)}));
        encoder->tensor = seen.encoder;
        for (size_t b = 0; b < processor.size(); b++) processor[b]->tensor = seen.processor[b];
    };
    submit(model->engine, std::move(command));
    return out;
}

// Peak activation bytes by the dry run, on this thread.
static Napi::Value memory_js(const Napi::CallbackInfo& info, const ModelRef& model) {
    const Transformer& m = *model->model.transformer;
    const PendingEvaluation pending = evaluation_from_js(info[0].As<Napi::Object>(), m, Given::shapes);
    const size_t bytes = model->engine->engine.plan_bytes(pending.tasks_in_flight, [&](Ops& ops) {
        denoise(ops, m, pending.planned(ops), ops.empty(pending.latents.shape), {});
    });
    return Napi::Number::New(info.Env(), static_cast<double>(bytes));
}

void TransformerWrap::define(Napi::Env env) {
    define_model(env, {method<&denoise_js>("denoise"), method<&trace_js>("trace"), method<&forward_js>("forward"),
                       method<&attention_js>("attention"), method<&first_input_js>("firstInput"),
                       method<&memory_js>("memory")});
}

}  // namespace vin
