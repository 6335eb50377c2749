// Models as JavaScript holds them.
#pragma once
#include "../core/safetensors.h"
#include "../models/t5.h"
#include "../models/vae.h"
#include "door.h"
#include "request.h"

namespace vin {

struct AnyModel {
    EngineRef engine;  // first: released last
    std::string kind;
    std::unique_ptr<Transformer> transformer;
    std::unique_ptr<Vae> vae;
    std::unique_ptr<T5> t5;
    std::shared_ptr<Error> error;  // what made its first filling fail; engine thread

    const Weights& weights() const { return transformer ? transformer->weights : vae ? vae->weights : t5->weights; }
};
using ModelRef = std::shared_ptr<AnyModel>;

// The config of a transformer, vae or t5 with every key that is left out.
JsonObject resolved_config(const std::string& kind, const Json& config, const std::string& file);
[[noreturn]] void raise_nonfinite(int32_t code, const Transformer& model);
// What a file of weights takes from a tensor; VIN_NONFINITE for NaN or Inf, so that such weights replace none that are
// good.
std::function<void(uint64_t first, size_t count, float* out)> finite_values(Engine& engine, const Tensor& tensor,
                                                                            const std::string& name);
// Writes one state dict: `tensor_of(spec)` is what stands under its name.
void save_weights(Engine& engine, const Weights& weights, const std::string& prefix,
                  const std::function<Tensor(const WeightSpec&)>& tensor_of, const std::string& path, int32_t dtype);

}  // namespace vin
