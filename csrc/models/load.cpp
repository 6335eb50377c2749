#include "load.h"

#include <algorithm>
#include <cmath>

namespace vin {

[[noreturn]] static void refuse_kind(const std::string& kind) {
    throw invalid("Expected a model of kind transformer, vae or t5 but received ", kind);
}

JsonObject resolved_config(const ModelConfig& config) {
    const JsonField field(config.json, config.file);
    if (config.kind == "transformer") return transformer_config(field).resolved;
    if (config.kind == "vae") return vae_config(field).resolved;
    if (config.kind == "t5") return t5_config(field).resolved;
    refuse_kind(config.kind);
}

std::vector<WeightSpec> weight_specs(const ModelConfig& config) {
    const JsonField field(config.json, config.file);
    if (config.kind == "transformer") return transformer_weights(transformer_config(field));
    if (config.kind == "vae") return vae_weights(vae_config(field));
    if (config.kind == "t5") return t5_weights(t5_config(field));
    refuse_kind(config.kind);
}

static AnyModel make(const ModelConfig& config, Weights weights) {
    const JsonField field(config.json, config.file);
    AnyModel model;
    if (config.kind == "transformer") {
        model.transformer = std::make_unique<Transformer>(transformer_config(field), std::move(weights));
    } else if (config.kind == "vae") {
        model.vae = std::make_unique<Vae>(vae_config(field), std::move(weights));
    } else {
        model.t5 = std::make_unique<T5>(t5_config(field), std::move(weights));
    }
    return model;
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

static bool begins_with(const std::string& name, const std::string& prefix) {
    return name.compare(0, prefix.size(), prefix) == 0;
}

static void initialise(Engine& engine, Ops& ops, const Weights& weights, size_t i, uint64_t seed);

AnyModel load_model(Engine& engine, const ModelConfig& config, const std::vector<std::string>& files,
                    const SafetensorsLimits& limits, const std::vector<std::string>& untrained, const Cancel* cancel) {
    const auto is_untrained = [&](const WeightSpec& spec) {
        return std::any_of(untrained.begin(), untrained.end(),
                           [&](const std::string& prefix) { return begins_with(spec.name, prefix); });
    };
    const auto keep_going = [cancel] { return !cancel || !cancel->requested.load(); };
    const SafetensorsSet set = SafetensorsSet::open(files, limits);
    std::vector<std::pair<std::string, std::string>> stored;  // canonical name, name in the file
    for (const std::string& name : set.names()) stored.push_back({canonical(config.kind, name), name});
    std::vector<WeightSpec> specs = present_specs(weight_specs(config), stored);
    std::vector<std::string> ignored = ignored_weights;

    std::vector<ExpectedWeight> expected;
    std::vector<std::string> stored_names;
    for (const WeightSpec& spec : specs) {
        std::string name;
        if (is_untrained(spec)) {
            stored_names.push_back("");
            continue;
        }
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
                    concat(set.label(), ": expected ", wanted, " but found others; save the file with one of them"),
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
        if (stored_names[i].empty() || set.find(stored_names[i]) || !specs[i].optional) {
            filled.push_back(specs[i]);
            filled_names.push_back(stored_names[i]);
        }
    Weights weights(engine.memory(), filled);
    ReadOptions read;
    read.keep_going = keep_going;
    read.finite = true;
    std::vector<float> staging;
    for (size_t i = 0; i < filled.size(); i++) {
        if (filled_names[i].empty()) continue;
        staging.resize(static_cast<size_t>(elements(filled[i].shape)));
        set.read_tensor(filled_names[i], staging.data(), read);
        if (set.find(filled_names[i])->count < staging.size())
            std::fill(staging.begin(), staging.end(), staging[0]);  // WeightSpec::scalar
        engine.upload(weights.tensor(i).view().data, staging.data(), staging.size() * 4);
    }
    Ops ops = engine.direct(cancel);
    for (size_t i = 0; i < filled.size(); i++)
        if (filled_names[i].empty()) initialise(engine, ops, weights, i, 0);
    return make(config, std::move(weights));
}

AnyModel new_model(Engine& engine, const ModelConfig& config) {
    return make(config, Weights(engine.memory(), weight_specs(config)));
}

// Stream of the initial values of weight i (model.md §6 leaves 0x10000 to 0x7fffffff to training).
static constexpr int32_t init_stream = 0x20000;

// demo.md §3.4. Xavier draws from N(0, 2 / (fan_in + fan_out)). What CAM copies begins as it is: cam.X as X.
static void initialise(Engine& engine, Ops& ops, const Weights& weights, size_t i, uint64_t seed) {
    const WeightSpec& spec = weights.specs()[i];
    const Tensor w = weights.tensor(i);
    if (begins_with(spec.name, "cam.") && weights.has(spec.name.substr(4)))
        return copy_into(ops, w, weights.at(spec.name.substr(4)));
    const double fan_out = static_cast<double>(spec.shape[0]),
                 fan_in = static_cast<double>(elements(spec.shape)) / std::max(1.0, fan_out);
    double std = 0;
    switch (spec.init) {
        case Init::zero: return fill(ops, w, 0);
        case Init::one: return fill(ops, w, 1);
        case Init::rope: {
            std::vector<float> freqs;
            const double n = static_cast<double>(spec.shape[0]);
            for (int64_t k = 0; k < spec.shape[0]; k++)
                freqs.push_back(static_cast<float>(std::pow(10000.0, -static_cast<double>(k) / n)));
            return engine.upload(w.view().data, freqs.data(), freqs.size() * 4);
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

void initialise(Engine& engine, const Weights& weights, uint64_t seed) {
    Ops ops = engine.direct(nullptr);
    for (size_t i = 0; i < weights.specs().size(); i++) initialise(engine, ops, weights, i, seed);
}

// ---- saving ----

static FileDtype file_dtype(int32_t dtype) {
    switch (dtype) {
        case VIN_DTYPE_BF16: return FileDtype::BF16;
        case VIN_DTYPE_F16: return FileDtype::F16;
        case VIN_DTYPE_F32: return FileDtype::F32;
        default: throw invalid("Expected dtype float32, bfloat16 or float16 for weights");
    }
}

std::function<void(uint64_t, size_t, float*)> finite_values(Engine& engine, const Tensor& tensor,
                                                            const std::string& name) {
    return [&engine, tensor, name](uint64_t first, size_t count, float* out) {
        engine.download(out, static_cast<const char*>(tensor.view().data) + first * 4, count * 4);
        for (size_t i = 0; i < count; i++)
            if (!std::isfinite(out[i]))
                throw Error("VIN_NONFINITE",
                            concat("Expected finite weights to save but ", name, " holds ",
                                   (std::isnan(out[i]) ? "NaN" : "an infinite value"), " at element ", first + i,
                                   "; nothing was written"),
                            {{"tensor", name}});
    };
}

void save_weights(Engine& engine, const Weights& weights, const std::function<Tensor(const WeightSpec&)>& tensor_of,
                  const std::string& path, int32_t dtype) {
    std::vector<TensorToWrite> entries;
    for (const WeightSpec& spec : weights.specs()) {
        TensorToWrite entry;
        entry.name = spec.name;
        entry.dtype = file_dtype(dtype);
        entry.shape = spec.shape;
        entry.values = finite_values(engine, tensor_of(spec), spec.name);
        entries.push_back(std::move(entry));
    }
    write_safetensors(path, std::move(entries));
}

}  // namespace vin
