#include "model.h"

#include <cmath>

namespace vin {

void raise_nonfinite(int32_t code, const Transformer& m) {
    const bool in_vin = code > (1 << 16);
    const int block = in_vin ? code - 1 - (1 << 16) : code - 1;
    std::string name = "vin.blocks." + std::to_string(block);
    if (!in_vin)
        name = m.config.layout == Layout::full
                   ? "blocks." + std::to_string(block)
                   : (block % 2 ? "temporal_blocks." : "spatial_blocks.") + std::to_string(block / 2);
    throw Error("VIN_NONFINITE",
                "Expected finite numbers but found NaN or Inf after " + name +
                    "; check the weights, the latents and guidanceScale",
                {{"block", std::to_string(block)}, {"name", name}});
}

// Throws for the first flag that is set, in the order of execution.
static void check_flags(Engine& engine, const Tensor& flags, const Transformer& m) {
    std::vector<int32_t> values(static_cast<size_t>(flags.numel()));
    engine.download(values.data(), flags.view().data, values.size() * 4);
    for (int32_t value : values)
        if (value) raise_nonfinite(value, m);
}

// ---- files ----

static FileDtype file_dtype(int32_t dtype) {
    switch (dtype) {
        case VIN_DTYPE_BF16: return FileDtype::BF16;
        case VIN_DTYPE_F16: return FileDtype::F16;
        case VIN_DTYPE_F32: return FileDtype::F32;
        default: throw Error("VIN_INVALID", "Expected dtype float32, bfloat16 or float16 for weights");
    }
}

std::function<void(uint64_t, size_t, float*)> finite_values(Engine& engine, const Tensor& tensor,
                                                            const std::string& name) {
    return [&engine, tensor, name](uint64_t first, size_t count, float* out) {
        engine.download(out, static_cast<const char*>(tensor.view().data) + first * 4, count * 4);
        for (size_t i = 0; i < count; i++)
            if (!std::isfinite(out[i]))
                throw Error("VIN_NONFINITE",
                            "Expected finite weights to save but " + name + " holds " +
                                (std::isnan(out[i]) ? "NaN" : "an infinite value") + " at element " +
                                std::to_string(first + i) + "; nothing was written",
                            {{"tensor", name}});
    };
}

void save_weights(Engine& engine, const Weights& weights, const std::string& prefix,
                  const std::function<Tensor(const WeightSpec&)>& tensor_of, const std::string& path, int32_t dtype) {
    std::vector<TensorToWrite> entries;
    std::vector<Tensor> kept;
    for (const WeightSpec& spec : weights.specs()) {
        const Tensor tensor = tensor_of(spec);
        TensorToWrite entry;
        entry.name = prefix + spec.name;
        entry.dtype = file_dtype(dtype);
        entry.shape = spec.shape;
        entry.values = finite_values(engine, tensor, entry.name);
        entries.push_back(std::move(entry));
    }
    write_safetensors(path, std::move(entries));
}

// ---- loading and creating ----

// The parts of a kind: its specs from a config, and the model over filled weights.
static std::vector<WeightSpec> specs_of(const std::string& kind, const Json& config, const std::string& file) {
    const JsonField field(config, file);
    if (kind == "transformer") return transformer_weights(transformer_config(field));
    if (kind == "vae") return vae_weights(vae_config(field));
    if (kind == "t5") return t5_weights(t5_config(field));
    throw Error("VIN_INVALID", "Expected a model of kind transformer, vae or t5 but received " + kind);
}

JsonObject resolved_config(const std::string& kind, const Json& config, const std::string& file) {
    const JsonField field(config, file);
    if (kind == "transformer") return transformer_config(field).resolved;
    if (kind == "vae") return vae_config(field).resolved;
    return t5_config(field).resolved;
}

static void make(AnyModel& model, const Json& config, const std::string& file, Weights weights) {
    const JsonField field(config, file);
    if (model.kind == "transformer") {
        model.transformer.reset(new Transformer(transformer_config(field), std::move(weights)));
    } else if (model.kind == "vae") {
        model.vae.reset(new Vae(vae_config(field), std::move(weights)));
    } else {
        model.t5.reset(new T5(t5_config(field), std::move(weights)));
    }
}

static std::string canonical(const std::string& kind, const std::string& name) {
    return kind == "vae" ? vae_canonical_name(name) : kind == "t5" ? t5_canonical_name(name) : name;
}

// Which weights this file brings: a checkpoint may lack the VIN and the time code as wholes (a plain backbone), then
// those specs go.
static std::vector<WeightSpec> present_specs(std::vector<WeightSpec> specs,
                                             const std::vector<std::pair<std::string, std::string>>& stored) {
    const auto any = [&](const std::string& prefix) {
        for (const auto& entry : stored)
            if (entry.first.compare(0, prefix.size(), prefix) == 0) return true;
        return false;
    };
    std::vector<WeightSpec> kept;
    for (WeightSpec& spec : specs) {
        const bool vin = spec.name.compare(0, 4, "vin.") == 0, time = spec.name.compare(0, 14, "time_embedder.") == 0;
        if ((vin && !any("vin.")) || (time && !any("time_embedder."))) continue;
        kept.push_back(std::move(spec));
    }
    return kept;
}

// Engine thread. Everything is checked before the first tensor is read.
static void load_into(AnyModel& model, const Json& config, const std::string& config_file,
                      const std::vector<std::string>& files, const SafetensorsLimits& limits,
                      const std::shared_ptr<Cancel>& cancel) {
    const auto keep_going = [cancel] { return !cancel || !cancel->requested.load(); };
    const SafetensorsSet set = SafetensorsSet::open(files, limits);
    std::vector<std::pair<std::string, std::string>> stored;  // canonical name, name in the file
    for (const std::string& name : set.names()) stored.push_back({canonical(model.kind, name), name});
    std::vector<WeightSpec> specs = present_specs(specs_of(model.kind, config, config_file), stored);
    std::vector<std::string> ignored = ignored_weights;

    std::vector<ExpectedWeight> expected;
    std::vector<std::string> stored_names;
    for (const WeightSpec& spec : specs) {
        std::string name;
        for (const auto& entry : stored) {
            if (entry.first != spec.name) continue;
            if (name.empty()) {
                name = entry.second;
            } else if (set.same(name, entry.second, keep_going)) {
                ignored.push_back(entry.second);
            } else {
                const std::string wanted =
                    "the same values in " + name + " and " + entry.second + ", two names of one weight,";
                throw Error(
                    "VIN_FORMAT",
                    set.label() + ": expected " + wanted + " but found others; save the file with one of them",
                    {{"file", set.label()}, {"tensor", entry.second}, {"expected", wanted}, {"found", "others"}});
            }
        }
        if (name.empty()) name = spec.name;
        stored_names.push_back(name);
        expected.push_back({name, spec.shape, spec.optional, spec.scalar});
    }
    for (const auto& entry : stored)
        if (entry.first.empty()) ignored.push_back(entry.second);  // an alias of another tensor
    check_weights(set, expected, ignored);

    std::vector<WeightSpec> filled;
    std::vector<std::string> filled_names;
    for (size_t i = 0; i < specs.size(); i++)
        if (set.find(stored_names[i]) || !specs[i].optional) {
            filled.push_back(specs[i]);
            filled_names.push_back(stored_names[i]);
        }
    Engine& engine = model.engine->engine;
    Weights weights(engine.memory(), filled);
    ReadOptions read;
    read.keep_going = keep_going;
    read.finite = true;
    std::vector<float> staging;
    for (size_t i = 0; i < filled.size(); i++) {
        staging.resize(static_cast<size_t>(elements(filled[i].shape)));
        set.read_tensor(filled_names[i], staging.data(), read);
        if (set.find(filled_names[i])->count < staging.size())
            std::fill(staging.begin(), staging.end(), staging[0]);  // WeightSpec::scalar
        engine.upload(weights.tensor(i).view().data, staging.data(), staging.size() * 4);
    }
    make(model, config, config_file, std::move(weights));
}

// Stream of the initial values of weight i (model.md §6 leaves 0x10000 to 0x7fffffff to training).
static constexpr int32_t init_stream = 0x20000;

// demo.md §3.4. Xavier draws from N(0, 2 / (fan_in + fan_out)).
static void initialise(Engine& engine, const std::vector<WeightSpec>& specs, const Weights& weights, uint64_t seed) {
    Ops ops = engine.direct(nullptr);
    for (size_t i = 0; i < specs.size(); i++) {
        const WeightSpec& spec = specs[i];
        const Tensor w = weights.tensor(i);
        const double fan_out = static_cast<double>(spec.shape[0]),
                     fan_in = static_cast<double>(elements(spec.shape)) / std::max(1.0, fan_out);
        double std = 0;
        switch (spec.init) {
            case Init::zero: fill(ops, w, 0); continue;
            case Init::one: fill(ops, w, 1); continue;
            case Init::rope: {
                std::vector<float> freqs;
                const double n = static_cast<double>(spec.shape[0]);
                for (int64_t k = 0; k < spec.shape[0]; k++)
                    freqs.push_back(static_cast<float>(std::pow(10000.0, -static_cast<double>(k) / n)));
                engine.upload(w.view().data, freqs.data(), freqs.size() * 4);
                continue;
            }
            case Init::normal: std = spec.std; break;
            case Init::xavier: {
                double field = 1;  // of a convolution: taps a channel sees
                for (size_t axis = 2; axis < spec.shape.size(); axis++) field *= static_cast<double>(spec.shape[axis]);
                std = std::sqrt(2 / (fan_in + fan_out * field));
                break;
            }
            case Init::table: std = 1 / std::sqrt(static_cast<double>(spec.shape.back())); break;
        }
        call(ops, vin_randn_args{w.view(), static_cast<int32_t>(seed), static_cast<int32_t>(seed >> 32),
                                 init_stream + static_cast<int32_t>(i), 0});
        combine_into(ops, w, std, w);
    }
}

class ModelWrap : public Napi::ObjectWrap<ModelWrap> {
public:
    explicit ModelWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ModelWrap>(info) {
        if (info.Length() != 1 || !info[0].IsExternal())
            throw Napi::TypeError::New(info.Env(), "Expected a model to be made by an engine");
        model_ = *info[0].As<Napi::External<ModelRef>>().Data();
        told_ = static_cast<int64_t>(model_->weights().bytes());
        Napi::MemoryManagement::AdjustExternalMemory(info.Env(), told_);
    }
    void Finalize(Napi::BasicEnv env) override {
        if (told_) Napi::MemoryManagement::AdjustExternalMemory(env, -told_);
    }
    const ModelRef& model() const {
        if (!model_) throw Error("VIN_DISPOSED", "Expected a live model but it was disposed");
        return model_;
    }

    Napi::Value kind(const Napi::CallbackInfo& info) {
        return guarded(info.Env(), [&]() -> Napi::Value { return Napi::String::New(info.Env(), model()->kind); });
    }
    Napi::Value weights(const Napi::CallbackInfo& info) {
        return guarded(info.Env(), [&]() -> Napi::Value {
            Napi::Array list = Napi::Array::New(info.Env());
            for (const WeightSpec& spec : model()->weights().specs()) {
                Napi::Object entry = Napi::Object::New(info.Env());
                entry.Set("name", spec.name);
                entry.Set("shape", shape_to_js(info.Env(), spec.shape));
                list.Set(list.Length(), entry);
            }
            return list;
        });
    }
    Napi::Value weight(const Napi::CallbackInfo& info) {
        return guarded(info.Env(), [&]() -> Napi::Value {
            const Tensor& tensor = model()->weights().at(info[0].ToString().Utf8Value());
            const HandleRef handle = new_handle(model()->engine, tensor.shape());
            handle->tensor = tensor;
            return wrap_tensor(info.Env(), handle);
        });
    }
    Napi::Value save(const Napi::CallbackInfo& info) {
        return guarded(info.Env(), [&]() -> Napi::Value {
            const ModelRef model = this->model();
            const std::string path = info[0].ToString().Utf8Value();
            const Napi::Object options = info[1].As<Napi::Object>();
            const int32_t dtype = dtype_from_js(text(options, "dtype", "float32"));
            const std::string prefix = text(options, "prefix", "");
            return promise(
                info.Env(), model->engine, nullptr,
                [model, path, dtype, prefix] {
                    const Weights& weights = model->weights();
                    save_weights(
                        model->engine->engine, weights, prefix,
                        [&](const WeightSpec& spec) { return weights.at(spec.name); }, path, dtype);
                },
                nullptr);
        });
    }
    Napi::Value bytes(const Napi::CallbackInfo& info) {
        return guarded(info.Env(), [&]() -> Napi::Value {
            return Napi::Number::New(info.Env(), static_cast<double>(model()->weights().bytes()));
        });
    }
    Napi::Value dispose(const Napi::CallbackInfo& info) {
        if (model_) {
            model_.reset();
            Napi::MemoryManagement::AdjustExternalMemory(info.Env(), -told_);
            told_ = 0;
        }
        return info.Env().Undefined();
    }

    // ---- transformer ----
    const Transformer& transformer() const {
        if (!model()->transformer)
            throw Error("VIN_INVALID", "Expected a transformer but this model is a " + model()->kind);
        return *model()->transformer;
    }

    Napi::Value denoise(const Napi::CallbackInfo& info) {
        return guarded(info.Env(), [&]() -> Napi::Value {
            const ModelRef model = this->model();
            const PendingEvaluation pending = evaluation_from_js(info[0].As<Napi::Object>(), transformer());
            const HandleRef eps = new_handle(model->engine, pending.latents.shape);
            Command command;
            command.outputs = {eps};
            command.cancel = pending.cancel;
            command.work = [model, pending, eps] {
                Engine& engine = model->engine->engine;
                const DenoiseRequest r = pending.resolved();
                const Tensor out = Tensor::allocate(engine.memory(), eps->shape);
                const Tensor flags = Tensor::allocate(engine.memory(), {finite_flags_needed(r)}, VIN_DTYPE_I32);
                engine.planned(plan_key(*model->transformer, r), pending.cancel.get(), pending.tasks_in_flight,
                               [&](Ops& ops) { vin::denoise(ops, *model->transformer, r, out, flags); });
                check_flags(engine, flags, *model->transformer);
                eps->tensor = out;
            };
            submit(model->engine, std::move(command));
            return wrap_tensor(info.Env(), eps);
        });
    }

    Napi::Value trace(const Napi::CallbackInfo& info) {
        return guarded(info.Env(), [&]() -> Napi::Value {
            const ModelRef model = this->model();
            const Transformer& m = transformer();
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
                vin::denoise(ops, *model->transformer, r, result, {}, &seen);
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
                        chunks[i]->error = std::make_shared<Error>(
                            "VIN_INVALID", "This chunk owns only conditioning frames and was not evaluated");
                }
            };
            submit(model->engine, std::move(command));
            return out;
        });
    }

    Napi::Value forward(const Napi::CallbackInfo& info) {
        return guarded(info.Env(), [&]() -> Napi::Value {
            const ModelRef model = this->model();
            const Transformer& m = transformer();
            const PendingEvaluation pending = evaluation_from_js(info[0].As<Napi::Object>(), m);
            const Shape& x = pending.latents.shape;
            const HandleRef out = new_handle(model->engine, {m.config.out_channels(), x[1], x[2], x[3]});
            Command command;
            command.outputs = {out};
            command.cancel = pending.cancel;
            command.work = [=] {
                Engine& engine = model->engine->engine;
                const Transformer& m = *model->transformer;
                const DenoiseRequest r = pending.resolved();
                const Tensor result = Tensor::allocate(engine.memory(), out->shape);
                const PlanKey key = PlanKey("forward", m.weights.id()).add(r.latents).add(r.text).add(r.frame_mask);
                engine.planned(key, pending.cancel.get(), 0, [&](Ops& ops) {
                    const float t = static_cast<float>(r.timestep);
                    DitInputs in;
                    in.video_tokens = video_tokens(ops, m, r.latents, 1, r.height, r.width);
                    in.frame_mask = r.frame_mask;
                    in.t_vec =
                        time_vector(ops, m, r.frame_mask.empty() ? std::vector<float>{t} : std::vector<float>{t, 0},
                                    {static_cast<float>(r.fps)});
                    in.mod = linear(ops, silu(ops, in.t_vec), m.t_block);
                    in.captions = captions(ops, m, one_of_batch(r.text));
                    copy_into(ops, result,
                              denoise_chunk(ops, m, in, {0, 0, r.latents.size(1)}, m.config.out_channels(),
                                            r.latents.size(2), r.latents.size(3), true, {}));
                });
                out->tensor = result;
            };
            submit(model->engine, std::move(command));
            return wrap_tensor(info.Env(), out);
        });
    }

    Napi::Value attention(const Napi::CallbackInfo& info) {
        return guarded(info.Env(), [&]() -> Napi::Value {
            const ModelRef model = this->model();
            const Transformer& m = transformer();
            const PendingEvaluation pending = evaluation_from_js(info[0].As<Napi::Object>(), m);
            if (!pending.request.use_global_tokens)
                throw Error("VIN_INVALID", "Expected keyframes for the attention of global tokens");
            const Shape& x = pending.latents.shape;
            const int64_t keys = static_cast<int64_t>(pending.request.keyframes.size()) * ((x[2] + 1) / 2) *
                                 ((x[3] + 1) / 2),
                          heads = m.config.vin.num_heads;
            const int64_t text_rows =
                              pending.request.vin_text_rows ? pending.request.vin_text_rows : pending.text.shape[0],
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
                const Transformer& m = *model->transformer;
                Ops ops = engine.direct(pending.cancel.get());
                const DenoiseRequest r = pending.resolved();
                const Tensor tokens =
                    video_tokens(ops, m, r.global_tokens_from ? r.global_tokens_from : r.latents, 1, r.height, r.width);
                const GlobalAttention seen = global_attention(
                    ops, m, tokens, r.keyframes, one_of_batch(r.text.slice(0, 0, text_rows)),
                    time_vector(ops, m, {static_cast<float>(r.timestep)}, {static_cast<float>(r.fps)}));
                encoder->tensor = seen.encoder;
                for (size_t b = 0; b < processor.size(); b++) processor[b]->tensor = seen.processor[b];
            };
            submit(model->engine, std::move(command));
            return out;
        });
    }

    // ---- vae ----
    const Vae& vae() const {
        if (!model()->vae) throw Error("VIN_INVALID", "Expected a VAE but this model is a " + model()->kind);
        return *model()->vae;
    }

    Napi::Value encode(const Napi::CallbackInfo& info) {
        return guarded(info.Env(), [&]() -> Napi::Value {
            const ModelRef model = this->model();
            const Napi::Object options =
                info[1].IsObject() ? info[1].As<Napi::Object>() : Napi::Object::New(info.Env());
            const std::shared_ptr<Cancel> cancel = optional_cancel(options);
            Command command;
            command.cancel = cancel;
            HandleRef out;
            if (model->t5) {
                std::vector<int32_t> ids;
                for (int64_t id : integers(info[0], "ids")) {
                    if (id < 0 || id >= model->t5->config.vocab_size)
                        throw Error("VIN_INVALID", "Expected token ids from 0 to " +
                                                       std::to_string(model->t5->config.vocab_size - 1) +
                                                       " but received " + std::to_string(id));
                    ids.push_back(static_cast<int32_t>(id));
                }
                out = new_handle(model->engine, {static_cast<int64_t>(ids.size()), model->t5->config.d_model});
                command.work = [=] {
                    Engine& engine = model->engine->engine;
                    const Tensor result = Tensor::allocate(engine.memory(), out->shape);
                    engine.planned(PlanKey("t5", model->t5->weights.id()).add(out->shape), cancel.get(), 0,
                                   [&](Ops& ops) { copy_into(ops, result, model->t5->encode(ops, ids)); });
                    out->tensor = result;
                };
            } else {
                const HandleRef pixels = unwrap_tensor(info[0], "pixels");
                const Shape& p = pixels->shape;
                if (p.size() != 4 || p[0] != 3 || p[1] < 1 || p[2] < 8 || p[3] < 8)
                    throw Error("VIN_INVALID", "Expected pixels of shape [3, T, H, W] but received " + to_string(p));
                out = new_handle(model->engine,
                                 {vae().config.latent_channels, latent_frames(vae().config, p[1]), p[2] / 8, p[3] / 8});
                command.work = [=] {
                    Engine& engine = model->engine->engine;
                    const Tensor result = Tensor::allocate(engine.memory(), out->shape), x = pixels->value();
                    engine.planned(PlanKey("encode", model->vae->weights.id()).add(x), cancel.get(), 0,
                                   [&](Ops& ops) { model->vae->encode_into(ops, x, result); });
                    out->tensor = result;
                };
            }
            command.outputs = {out};
            submit(model->engine, std::move(command));
            return wrap_tensor(info.Env(), out);
        });
    }
    Napi::Value decode(const Napi::CallbackInfo& info) { return decode_as(info, false); }
    Napi::Value decode_pixels(const Napi::CallbackInfo& info) { return decode_as(info, true); }

    Napi::Value decode_as(const Napi::CallbackInfo& info, bool bytes) {
        return guarded(info.Env(), [&]() -> Napi::Value {
            const ModelRef model = this->model();
            const VaeConfig& config = vae().config;
            const HandleRef latents = unwrap_tensor(info[0], "latents");
            const Napi::Object options = info[1].As<Napi::Object>();
            const Shape& x = latents->shape;
            if (x.size() != 4 || x[0] != config.latent_channels || x[1] < 1)
                throw Error("VIN_INVALID", "Expected latents of shape [" + std::to_string(config.latent_channels) +
                                               ", N, H, W] but received " + to_string(x));
            const int64_t frames = static_cast<int64_t>(required_number(options, "numFrames"));
            if (frames < 1 || latent_frames(config, frames) != x[1])
                throw Error("VIN_INVALID", "Expected numFrames that make " + std::to_string(x[1]) +
                                               " latent frames but received " + std::to_string(frames));
            const int64_t begin = bytes ? static_cast<int64_t>(required_number(options, "begin")) : 0,
                          end = bytes ? static_cast<int64_t>(required_number(options, "end")) : x[1];
            const std::shared_ptr<Cancel> cancel = optional_cancel(options);
            const HandleRef out =
                bytes
                    ? new_handle(model->engine, {vae().micro_batch(begin, end, frames).frames(), 8 * x[2], 8 * x[3], 3},
                                 VIN_DTYPE_U8)
                    : new_handle(model->engine, {3, frames, 8 * x[2], 8 * x[3]});
            Command command;
            command.outputs = {out};
            command.cancel = cancel;
            command.work = [=] {
                Engine& engine = model->engine->engine;
                const Tensor result = Tensor::allocate(engine.memory(), out->shape, out->dtype), z = latents->value();
                const Tensor flag = Tensor::allocate(engine.memory(), {1}, VIN_DTYPE_I32);
                const PlanKey key = PlanKey(bytes ? "decode pixels" : "decode", model->vae->weights.id())
                                        .add(z.slice(1, begin, end))
                                        .add(out->shape);
                engine.planned(key, cancel.get(), 0, [&](Ops& ops) {
                    fill(ops, flag, 0);
                    if (bytes)
                        model->vae->decode_pixels_into(ops, z, begin, end, frames, result, flag);
                    else
                        model->vae->decode_into(ops, z, frames, result);
                });
                int32_t found = 0;
                engine.download(&found, flag.view().data, sizeof found);
                if (found)
                    throw Error("VIN_NONFINITE",
                                "Expected finite pixels but the VAE made NaN or Inf from video frame " +
                                    std::to_string(found - 1) + " on; check the latents and the weights of the VAE",
                                {{"frame", std::to_string(found - 1)}});
                out->tensor = result;
            };
            submit(model->engine, std::move(command));
            return wrap_tensor(info.Env(), out);
        });
    }

    // Peak activation bytes by the dry run, on this thread.
    Napi::Value memory(const Napi::CallbackInfo& info) {
        return guarded(info.Env(), [&]() -> Napi::Value {
            const Napi::Object object = info[0].As<Napi::Object>();
            const Engine& engine = model()->engine->engine;
            size_t bytes = 0;
            if (model()->transformer) {
                const Transformer& m = transformer();
                const PendingEvaluation pending = evaluation_from_js(object, m, Given::shapes);
                bytes = engine.plan_bytes(pending.tasks_in_flight, [&](Ops& ops) {
                    vin::denoise(ops, m, pending.planned(ops), ops.empty(pending.latents.shape), {});
                });
            } else {
                const int64_t height = static_cast<int64_t>(required_number(object, "height")),
                              width = static_cast<int64_t>(required_number(object, "width"));
                const VaeConfig& config = vae().config;
                const int64_t frames = config.micro_frame_size, latents = latent_frames(config, frames);
                const bool encoding = text(object, "operation", "decode") == "encode";
                bytes = engine.plan_bytes(0, [&](Ops& ops) {
                    const Tensor z = ops.empty({config.latent_channels, latents, height / 8, width / 8});
                    if (encoding)
                        vae().encode_into(ops, ops.empty({3, frames, height, width}), z);
                    else
                        vae().decode_pixels_into(ops, z, 0, latents, frames,
                                                 ops.empty({frames, height, width, 3}, VIN_DTYPE_U8));
                });
            }
            return Napi::Number::New(info.Env(), static_cast<double>(bytes));
        });
    }

private:
    ModelRef model_;
    int64_t told_ = 0;
};

static const napi_type_tag model_tag = {0x76696e2d6e617469, 0x6d6f64656c000001};

Napi::Function define_model(Napi::Env env) {
    using M = ModelWrap;
    return M::DefineClass(env, "NativeModel",
                          {M::InstanceAccessor<&M::kind>("kind"), M::InstanceMethod<&M::weights>("weights"),
                           M::InstanceMethod<&M::weight>("weight"), M::InstanceMethod<&M::save>("save"),
                           M::InstanceMethod<&M::bytes>("bytes"), M::InstanceMethod<&M::dispose>("dispose"),
                           M::InstanceMethod<&M::denoise>("denoise"), M::InstanceMethod<&M::trace>("trace"),
                           M::InstanceMethod<&M::forward>("forward"), M::InstanceMethod<&M::attention>("attention"),
                           M::InstanceMethod<&M::encode>("encode"), M::InstanceMethod<&M::decode>("decode"),
                           M::InstanceMethod<&M::decode_pixels>("decodePixels"),
                           M::InstanceMethod<&M::memory>("memory")});
}

static Napi::Object wrap_model(Napi::Env env, ModelRef model) {
    Napi::Object object = classes(env).model.New({Napi::External<ModelRef>::New(env, &model)});
    object.TypeTag(&model_tag);
    return object;
}

ModelRef unwrap_model(const Napi::Value& value) {
    if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&model_tag))
        throw Error("VIN_INVALID", "Expected a model of the engine");
    return ModelWrap::Unwrap(value.As<Napi::Object>())->model();
}

Napi::Promise load_model(const Napi::CallbackInfo& info, const EngineRef& engine) {
    auto model = std::make_shared<AnyModel>();
    model->engine = engine;
    model->kind = info[0].ToString().Utf8Value();
    const std::vector<std::string> files = strings(info[2], "files");
    if (files.empty()) throw Error("VIN_INVALID", "Expected at least one file of weights");
    const Napi::Object options =
        info.Length() > 3 && info[3].IsObject() ? info[3].As<Napi::Object>() : Napi::Object::New(info.Env());
    const std::string config_file = text(options, "configFile", "config.json");
    auto config = std::make_shared<Json>(json_from_js(info[1], config_file));
    specs_of(model->kind, *config, config_file);  // a bad configuration fails before anything is queued
    const SafetensorsLimits limits = limits_from_js(options);
    const std::shared_ptr<Cancel> cancel = optional_cancel(options);
    return promise(
        info.Env(), engine, cancel, [=] { load_into(*model, *config, config_file, files, limits, cancel); },
        [model](Napi::Env env) -> Napi::Value { return wrap_model(env, model); });
}

Napi::Value create_model(const Napi::CallbackInfo& info, const EngineRef& engine) {
    auto model = std::make_shared<AnyModel>();
    model->engine = engine;
    model->kind = info[0].ToString().Utf8Value();
    const Json config = json_from_js(info[1], "config.json");
    bool lossless = true;
    const uint64_t seed = info[2].IsBigInt() ? info[2].As<Napi::BigInt>().Uint64Value(&lossless)
                                             : static_cast<uint64_t>(info[2].ToNumber().Int64Value());
    const std::vector<WeightSpec> specs = specs_of(model->kind, config, "config.json");
    make(*model, config, "config.json", Weights(engine->engine.memory(), specs));
    Command command;
    command.work = [model, specs, seed] { initialise(model->engine->engine, specs, model->weights(), seed); };
    submit(engine, std::move(command));
    return wrap_model(info.Env(), model);
}

}  // namespace vin
