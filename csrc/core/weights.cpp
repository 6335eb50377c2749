#include "weights.h"

#include "error.h"

namespace vin {

Weights::Weights(const std::shared_ptr<Memory>& memory, std::vector<WeightSpec> specs) : specs_(std::move(specs)) {
    std::vector<size_t> offsets;
    size_t total = 0;
    for (const WeightSpec& spec : specs_) {
        offsets.push_back(total);
        total += (static_cast<size_t>(elements(spec.shape)) * 4 + 63) / 64 * 64;
    }
    block_ = std::make_shared<Storage>(memory, total);
    for (size_t i = 0; i < specs_.size(); i++) {
        auto storage =
            std::make_shared<Storage>(block_, offsets[i], static_cast<size_t>(elements(specs_[i].shape)) * 4);
        tensors_.push_back(Tensor(storage, specs_[i].shape));
        index_[specs_[i].name] = i;
    }
}

const Tensor& Weights::at(const std::string& name) const {
    auto found = index_.find(name);
    if (found == index_.end())
        throw Error("VIN_MISSING_COMPONENT", concat("Expected the weight ", name, " in this model but it has none"),
                    {{"tensor", name}});
    return tensors_[found->second];
}

void WeightList::add(Tensor& tensor, WeightSpec spec) {
    if (!weights_)
        specs.push_back(std::move(spec));
    else if (!spec.optional || weights_->has(spec.name))
        tensor = weights_->at(spec.name);
}

void WeightList::layer(Layer& layer, const std::string& name, const Shape& weight, bool bias, Init init,
                       bool optional) {
    add(layer.weight, {name + ".weight", weight, init, 0.02f, optional});
    if (bias) add(layer.bias, {name + ".bias", {weight[0]}, Init::zero, 0, optional});
}

}  // namespace vin
