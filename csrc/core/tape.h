// Reverse-mode differentiation over ops. Each differentiable op records a rule that turns the gradient of its output
// into gradients of its inputs. A storage has at most one gradient, of the same layout: a view's gradient is the same
// view of it.
#pragma once
#include <functional>
#include <unordered_map>
#include <vector>

#include "tensor.h"

namespace vin {

struct Ops;

// What a rule keeps of a tensor whose values it does not need: enough to find and shape its gradient, without holding
// its memory.
struct TensorKey {
    uint64_t id = 0;
    size_t storage_bytes = 0;
    vin_tensor view = {};  // view.data is the offset into the storage
    TensorKey() = default;
    TensorKey(const Tensor& tensor);  // implicit on purpose: a Tensor goes wherever a TensorKey does
    Shape shape() const { return Shape(view.shape, view.shape + view.rank); }
};

class Tape {
public:
    using Rule = std::function<void(Ops&)>;

    // Gradients of `weight` are added to `gradient` (same layout, zeroed by the caller).
    void leaf(const Tensor& weight, const Tensor& gradient);
    // True when a gradient of this tensor is needed.
    bool wants(const TensorKey& tensor) const { return entries_.count(tensor.id) > 0; }
    // `output` came from an op with a wanted input; `rule` runs when the gradient of output is complete.
    void record(const Tensor& output, Rule rule);

    // Inside a rule: the gradient of an output. Absent when nothing flowed into it.
    Tensor gradient(const TensorKey& output) const;
    // Where a kernel may add the gradient of a leaf directly; absent when it is not wanted.
    Tensor leaf_gradient(const Tensor& weight) const;
    // A tensor for the gradient of `input` where one is wanted, for add(); else an absent one.
    Tensor room_for(Ops& ops, const TensorKey& input) const;
    // Adds `gradient`, unless it is absent, to the gradient of `input`. The tape may keep `gradient` itself, so a rule
    // must not write to it afterwards.
    void add(Ops& ops, const TensorKey& input, const Tensor& gradient);
    // The gradient of `input` as one zeroed or already begun tensor, to be added to.
    Tensor begin(Ops& ops, const TensorKey& input);

    // Runs all rules recorded after the first `floor` ones, newest first.
    void run(Ops& ops, size_t floor = 0);
    size_t length() const { return nodes_.size(); }
    // Makes `output` continue with the gradient of `other` (recomputed blocks).
    void alias(const Tensor& output, const TensorKey& other);

private:
    struct Entry {
        Tensor gradient;  // absent until something is added
        bool leaf = false;
    };
    struct Node {
        uint64_t output;
        Rule rule;
    };
    std::unordered_map<uint64_t, Entry> entries_;
    std::vector<Node> nodes_;
};

}  // namespace vin
