// A model from its files or from a seed, and its weights back into a file.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "../core/engine.h"
#include "../core/safetensors.h"
#include "t5.h"
#include "transformer.h"
#include "vae.h"

namespace vin {

// One of the three: the others are absent.
struct AnyModel {
    std::unique_ptr<Transformer> transformer;
    std::unique_ptr<Vae> vae;
    std::unique_ptr<T5> t5;

    const Weights& weights() const { return transformer ? transformer->weights : vae ? vae->weights : t5->weights; }
};

// What a model is made by: its kind (transformer, vae or t5), and its config with the name that errors call it by.
struct ModelConfig {
    std::string kind;
    Json json;
    std::string file;
};

// The config with every key that was left out; throws for a bad one.
JsonObject resolved_config(const ModelConfig& config);
// Every weight that the config asks for; throws for a bad one.
std::vector<WeightSpec> weight_specs(const ModelConfig& config);

// Engine thread. Everything is checked before the first tensor is read. Weights whose names begin with one of
// `untrained` are not looked for in the files: they get initial values.
AnyModel load_model(Engine& engine, const ModelConfig& config, const std::vector<std::string>& files,
                    const SafetensorsLimits& limits, const std::vector<std::string>& untrained, const Cancel* cancel);

// Any thread: a model whose weights are not yet filled. Then, on the engine's thread, their initial values.
AnyModel new_model(Engine& engine, const ModelConfig& config);
void initialise(Engine& engine, const Weights& weights, uint64_t seed);

// What a file of weights takes from a tensor; VIN_NONFINITE for NaN or Inf, so that such weights replace none that are
// good.
std::function<void(uint64_t first, size_t count, float* out)> finite_values(Engine& engine, const Tensor& tensor,
                                                                            const std::string& name);
// Writes one state dict: `tensor_of(spec)` is what stands under its name.
void save_weights(Engine& engine, const Weights& weights, const std::function<Tensor(const WeightSpec&)>& tensor_of,
                  const std::string& path, int32_t dtype);

}  // namespace vin
