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
    // The named tensor or an absent one.
    Tensor find(const std::string& name) const;
    bool has(const std::string& name) const { return index_.count(name) > 0; }
    const std::vector<WeightSpec>& specs() const { return specs_; }
    const Tensor& tensor(size_t i) const { return tensors_[i]; }
    // All weights as one row, the padding between them included (it is never written and starts as 0 where the caller
    // filled it).
    Tensor whole() const { return Tensor(block_, {static_cast<int64_t>(block_->bytes / 4)}); }
    size_t bytes() const { return block_ ? block_->bytes : 0; }

private:
    std::vector<WeightSpec> specs_;
    std::vector<Tensor> tensors_;
    std::unordered_map<std::string, size_t> index_;
    std::shared_ptr<Storage> block_;
};

}  // namespace vin
