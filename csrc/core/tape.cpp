#include "tape.h"

#include "../ops/ops.h"
#include "error.h"

namespace vin {

Ghost::Ghost(const Tensor& tensor) {
    if (!tensor) return;
    id = tensor.storage()->id;
    storage_bytes = tensor.storage()->bytes;
    view = tensor.view();
    view.data = reinterpret_cast<void*>(static_cast<char*>(view.data) - static_cast<char*>(tensor.storage()->data));
}

// The view of `ghost` in another storage of the same layout.
static Tensor mirrored(const Ghost& ghost, const Tensor& whole) {
    Shape stride(ghost.view.stride, ghost.view.stride + ghost.view.rank);
    return whole.strided(
        ghost.shape(), stride,
        static_cast<int64_t>(reinterpret_cast<size_t>(ghost.view.data) / dtype_bytes(ghost.view.dtype)));
}

static bool covers_storage(const Ghost& ghost) {
    int64_t stride = 1;
    for (int i = ghost.view.rank - 1; i >= 0; i--) {
        if (ghost.view.shape[i] != 1 && ghost.view.stride[i] != stride) return false;
        stride *= ghost.view.shape[i];
    }
    return static_cast<size_t>(stride) * dtype_bytes(ghost.view.dtype) == ghost.storage_bytes;
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

Tensor Tape::gradient(const Ghost& output) const {
    auto found = entries_.find(output.id);
    if (found == entries_.end() || !found->second.gradient) return {};
    return mirrored(output, found->second.gradient);
}

Tensor Tape::leaf_gradient(const Tensor& weight) const {
    auto found = weight ? entries_.find(weight.storage()->id) : entries_.end();
    if (found == entries_.end() || !found->second.leaf) return {};
    return weight.same_view_of(found->second.gradient.storage());
}

Tensor Tape::begin(Ops& ops, const Ghost& input) {
    Entry& entry = entries_.at(input.id);
    if (!entry.gradient) {
        const Shape whole = {static_cast<int64_t>(input.storage_bytes / dtype_bytes(input.view.dtype))};
        entry.gradient = Tensor::allocate(ops.memory, whole, input.view.dtype);
        fill(ops, entry.gradient, 0);
    } else if (!entry.leaf &&
               entry.gradient.storage().use_count() > 1) {  // shared with another tensor's gradient: write to a copy
        Tensor own = Tensor::allocate(ops.memory, entry.gradient.shape(), entry.gradient.dtype());
        copy_into(ops, own, entry.gradient);
        entry.gradient = own;
    }
    return mirrored(input, entry.gradient);
}

void Tape::add(Ops& ops, const Ghost& input, const Tensor& gradient) {
    auto found = entries_.find(input.id);
    if (found == entries_.end()) return;
    if (!found->second.gradient && covers_storage(input) && gradient.covers_storage()) {
        found->second.gradient = gradient;
        return;
    }
    Tensor target = begin(ops, input);
    add_into(ops, target, target, gradient);
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

void Tape::alias(const Tensor& output, const Ghost& other) {
    entries_[output.storage()->id].gradient = entries_.at(other.id).gradient;
}

}  // namespace vin
