#include "tape.h"

#include "context.h"

namespace vin {

TensorKey::TensorKey(const Tensor& tensor) {
    if (!tensor) return;
    id = tensor.storage()->id;
    storage_bytes = tensor.storage()->bytes;
    view = tensor.view();
    view.data = reinterpret_cast<void*>(static_cast<char*>(view.data) - static_cast<char*>(tensor.storage()->data));
}

// The view of `key` in another storage of the same layout.
static Tensor mirrored(const TensorKey& key, const Tensor& whole) {
    Shape stride(key.view.stride, key.view.stride + key.view.rank);
    return whole.strided(key.shape(), stride,
                         static_cast<int64_t>(reinterpret_cast<size_t>(key.view.data) / dtype_bytes(key.view.dtype)));
}

static bool covers_storage(const TensorKey& key) {
    int64_t stride = 1;
    for (int i = key.view.rank - 1; i >= 0; i--) {
        if (key.view.shape[i] != 1 && key.view.stride[i] != stride) return false;
        stride *= key.view.shape[i];
    }
    return static_cast<size_t>(stride) * dtype_bytes(key.view.dtype) == key.storage_bytes;
}

void Tape::leaf(const Tensor& weight, const Tensor& gradient) {
    Entry& entry = entries_[weight.storage()->id];
    entry.gradient = gradient;
    entry.leaf = true;
}

void Tape::record(const Tensor& output, Rule rule) {
    entries_[output.storage()->id];
    nodes_.push_back({output.storage()->id, std::move(rule)});
}

Tensor Tape::gradient(const TensorKey& output) const {
    auto found = entries_.find(output.id);
    if (found == entries_.end() || !found->second.gradient) return {};
    return mirrored(output, found->second.gradient);
}

Tensor Tape::leaf_gradient(const Tensor& weight) const {
    auto found = weight ? entries_.find(weight.storage()->id) : entries_.end();
    if (found == entries_.end() || !found->second.leaf) return {};
    return weight.same_view_of(found->second.gradient.storage());
}

Tensor Tape::begin(Ops& ops, const TensorKey& input) {
    Entry& entry = entries_.at(input.id);
    if (!entry.gradient) {
        const Shape whole = {static_cast<int64_t>(input.storage_bytes / dtype_bytes(input.view.dtype))};
        entry.gradient = Tensor::allocate(ops.memory, whole, input.view.dtype);
        call(ops, vin_fill_args{entry.gradient.view(), 0});
    } else if (!entry.leaf &&
               entry.gradient.storage().use_count() > 1) {  // shared with another tensor's gradient: write to a copy
        Tensor own = Tensor::allocate(ops.memory, entry.gradient.shape(), entry.gradient.dtype());
        call(ops, vin_copy_args{own.view(), entry.gradient.view()});
        entry.gradient = own;
    }
    return mirrored(input, entry.gradient);
}

Tensor Tape::room_for(Ops& ops, const TensorKey& input) const {
    return wants(input) ? ops.empty(input.shape()) : Tensor();
}

void Tape::add(Ops& ops, const TensorKey& input, const Tensor& gradient) {
    auto found = entries_.find(input.id);
    if (found == entries_.end() || !gradient) return;
    if (!found->second.gradient && covers_storage(input) && gradient.covers_storage()) {
        found->second.gradient = gradient;
        return;
    }
    Tensor target = begin(ops, input);
    call(ops, vin_add_args{target.view(), target.view(), gradient.view()});
}

void Tape::run(Ops& ops, size_t floor) {
    while (nodes_.size() > floor) {
        Node node = std::move(nodes_.back());
        nodes_.pop_back();
        const Tensor gradient = entries_.at(node.output).gradient;  // a rule without a gradient has nothing to do
        if (gradient) node.rule(ops);
        entries_.erase(node.output);
    }
}

void Tape::alias(const Tensor& output, const TensorKey& other) {
    entries_[output.storage()->id].gradient = entries_.at(other.id).gradient;
}

}  // namespace vin
