// The weights of one model: names, shapes and initial values as data, tensors in one block.
#pragma once
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "tensor.h"

namespace vin {

enum class Init { zero, one, normal, xavier, table, rope };  // demo.md §3.4

struct WeightSpec {
    std::string name;
    Shape shape;
    Init init = Init::xavier;
    float std = 0.02f;      // of `normal`
    bool optional = false;  // may be missing in a file
    bool scalar = false;    // a file may hold one number for all elements
};

class Weights {
public:
    // One block for all `specs`, not yet filled.
    Weights(const std::shared_ptr<Memory>& memory, std::vector<WeightSpec> specs);
    // The named tensor; throws VIN_MISSING_COMPONENT when absent.
    const Tensor& at(const std::string& name) const;
    bool has(const std::string& name) const { return index_.count(name) > 0; }
    const std::vector<WeightSpec>& specs() const { return specs_; }
    const Tensor& tensor(size_t i) const { return tensors_[i]; }
    // All weights as one row, the padding between them included (it is never written and starts as 0 where the caller
    // filled it).
    Tensor whole() const { return Tensor(block_, {static_cast<int64_t>(block_->bytes / 4)}); }
    size_t bytes() const { return block_ ? block_->bytes : 0; }

    // Of these weights alone: never that of others, before or after.
    uint64_t id() const { return block_->id; }

private:
    std::vector<WeightSpec> specs_;
    std::vector<Tensor> tensors_;
    std::unordered_map<std::string, size_t> index_;
    std::shared_ptr<Storage> block_;
};

// Weight and bias of a Linear, a convolution or a norm. An absent bias adds nothing.
struct Layer {
    Tensor weight, bias;
    explicit operator bool() const { return static_cast<bool>(weight); }
};

// What a model says of each of its tensors, once: without weights it collects their specs, with weights each tensor is
// found by its name.
class WeightList {
public:
    explicit WeightList(const Weights* weights = nullptr) : weights_(weights) {}
    void add(Tensor& tensor, WeightSpec spec);
    // The tensors name.weight and name.bias.
    void layer(Layer& layer, const std::string& name, const Shape& weight, bool bias, Init init = Init::xavier,
               bool optional = false);
    std::vector<WeightSpec> specs;

private:
    const Weights* weights_;
};

}  // namespace vin
