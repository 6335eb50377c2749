// Elementwise ops, copies and sums. Binary ops broadcast axes of size 1; their gradients are summed back over those
// axes.
#include "ops.h"

namespace vin {

static Shape broadcast(const Tensor& a, const Tensor& b) {
    if (a.rank() != b.rank()) throw invalid("Expected tensors of one rank but found ", a.shape(), " and ", b.shape());
    Shape shape = a.shape();
    for (int i = 0; i < b.rank(); i++)
        if (shape[static_cast<size_t>(i)] == 1) shape[static_cast<size_t>(i)] = b.size(i);
    return shape;
}

// Adds dy, summed over the axes along which `input` was repeated.
static void add_reduced(Ops& ops, const TensorKey& input, const Tensor& dy) {
    if (!ops.tape->wants(input)) return;
    if (input.shape() == dy.shape()) return ops.tape->add(ops, input, dy);
    const Tensor sum = ops.empty(input.shape());
    call(ops, vin_reduce_sum_args{sum.view(), dy.view()});
    ops.tape->add(ops, input, sum);
}

Tensor add(Ops& ops, const Tensor& a, const Tensor& b) {
    const Shape shape = broadcast(a, b);
    Tensor y = ops.empty(shape);
    add_into(ops, y, a.expand(shape), b.expand(shape));
    if (ops.wants(a) || ops.wants(b)) {
        ops.tape->record(y, [a = TensorKey(a), b = TensorKey(b), output = TensorKey(y)](Ops& ops) {
            const Tensor dy = ops.tape->gradient(output);
            add_reduced(ops, a, dy);
            add_reduced(ops, b, dy);
        });
    }
    return y;
}

Tensor multiply(Ops& ops, const Tensor& a, const Tensor& b) {
    const Shape shape = broadcast(a, b);
    Tensor y = ops.empty(shape);
    call(ops, vin_multiply_args{y.view(), a.expand(shape).view(), b.expand(shape).view()});
    if (ops.wants(a) || ops.wants(b)) {
        ops.tape->record(y, [a, b, shape, output = TensorKey(y)](Ops& ops) {
            const Tensor dy = ops.tape->gradient(output);
            const auto through = [&](const Tensor& input, const Tensor& other) {
                if (!ops.tape->wants(input)) return;
                const Tensor d = ops.empty(shape);
                call(ops, vin_multiply_args{d.view(), dy.view(), other.expand(shape).view()});
                add_reduced(ops, input, d);
            };
            through(a, b);
            through(b, a);
        });
    }
    return y;
}

template <class Args, class BackwardArgs>
static Tensor activation(Ops& ops, const Tensor& x) {
    Tensor y = ops.empty(x.shape());
    call(ops, Args{y.view(), x.view()});
    if (ops.wants(x)) {
        ops.tape->record(y, [x, output = TensorKey(y)](Ops& ops) {
            const Tensor dx = ops.empty(x.shape());
            call(ops, BackwardArgs{dx.view(), ops.tape->gradient(output).view(), x.view()});
            ops.tape->add(ops, x, dx);
        });
    }
    return y;
}
Tensor gelu(Ops& ops, const Tensor& x) { return activation<vin_gelu_args, vin_gelu_backward_args>(ops, x); }
Tensor silu(Ops& ops, const Tensor& x) { return activation<vin_silu_args, vin_silu_backward_args>(ops, x); }

Tensor gated_residual(Ops& ops, const Tensor& x, const Tensor& gate, const Tensor& group, const Tensor& residual) {
    Tensor y = ops.empty(x.shape());
    call(ops,
         vin_gated_residual_args{y.rows().view(), x.rows().view(), gate.view(), group.view(), residual.rows().view()});
    if (ops.wants(x) || ops.wants(gate) || ops.wants(residual)) {
        ops.tape->record(y, [x, gate, group, residual = TensorKey(residual), output = TensorKey(y)](Ops& ops) {
            Tape& tape = *ops.tape;
            const Tensor dy = tape.gradient(output);
            const Tensor dx = tape.room_for(ops, x), dgate = tape.room_for(ops, gate);
            call(ops, vin_gated_residual_backward_args{dx.rows().view(), dgate.view(), dy.rows().view(),
                                                       x.rows().view(), gate.view(), group.view()});
            tape.add(ops, x, dx);
            tape.add(ops, gate, dgate);
            tape.add(ops, residual, dy);
        });
    }
    return y;
}

Tensor contiguous(Ops& ops, const Tensor& x) {
    if (x.contiguous()) return x;
    Tensor y = ops.empty(x.shape(), x.dtype());
    copy_into(ops, y, x);
    if (ops.wants(x))
        ops.tape->record(y, [x = TensorKey(x), output = TensorKey(y)](Ops& ops) {
            ops.tape->add(ops, x, ops.tape->gradient(output));
        });
    return y;
}

Tensor concatenate(Ops& ops, const std::vector<Tensor>& parts, int axis) {
    Shape shape = parts.at(0).shape();
    int64_t& length = shape.at(static_cast<size_t>(axis));
    length = 0;
    bool wanted = false;
    for (const Tensor& part : parts) {
        length += part.size(axis);
        wanted = wanted || ops.wants(part);
    }
    Tensor y = ops.empty(shape);
    int64_t begin = 0;
    for (const Tensor& part : parts) {
        copy_into(ops, y.slice(axis, begin, begin + part.size(axis)), part);
        begin += part.size(axis);
    }
    if (wanted) {
        ops.tape->record(
            y, [keys = std::vector<TensorKey>(parts.begin(), parts.end()), axis, output = TensorKey(y)](Ops& ops) {
                const Tensor dy = ops.tape->gradient(output);
                int64_t begin = 0;
                for (const TensorKey& part : keys) {
                    const int64_t end = begin + part.view.shape[axis];
                    ops.tape->add(ops, part, dy.slice(axis, begin, end));
                    begin = end;
                }
            });
    }
    return y;
}

void add_into(Ops& ops, const Tensor& y, const Tensor& a, const Tensor& b) {
    call(ops, vin_add_args{y.view(), a.view(), b.view()});
}
void copy_into(Ops& ops, const Tensor& y, const Tensor& x) { call(ops, vin_copy_args{y.view(), x.view()}); }
void fill(Ops& ops, const Tensor& y, double value) { call(ops, vin_fill_args{y.view(), value}); }
void combine_into(Ops& ops, const Tensor& y, double fa, const Tensor& a, double fb, const Tensor& b) {
    call(ops, vin_linear_combination_args{y.view(), a.view(), b.view(), {}, {}, fa, fb, 0, 0});
}

}  // namespace vin
