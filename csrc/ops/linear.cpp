// Matrix products and convolutions.
#include "ops.h"

namespace vin {

static Tensor plain_linear(Ops& ops, const Tensor& x, const Tensor& weight, const Tensor& bias,
                           const Epilogue& epilogue) {
    Shape shape = x.shape();
    shape.back() = weight.size(0);
    Tensor y = ops.empty(shape);
    const Tensor residual = epilogue.residual.rows();
    call(ops, vin_linear_args{y.rows().view(), x.rows().view(), weight.view(), bias.view(), epilogue.gate.view(),
                              epilogue.group.view(), residual.view(), epilogue.activation});
    return y;
}

Tensor linear(Ops& ops, const Tensor& x, const Tensor& weight_, const Tensor& bias, const Epilogue& epilogue) {
    const Tensor weight =
        weight_.rank() == 2 ? weight_ : weight_.reshape({weight_.size(0), weight_.numel() / weight_.size(0)});
    expect(x.size(-1) == weight.size(1), "linear: expected ", weight.size(1), " columns for the weight ",
           weight.shape(), " but found ", x.shape());
    if (!ops.training) return plain_linear(ops, x, weight, bias, epilogue);

    Tensor y = plain_linear(ops, x, weight, bias, {});
    if (ops.wants(x) || ops.wants(weight) || ops.wants(bias)) {
        ops.tape->record(y, [x, weight, bias, output = TensorKey(y)](Ops& ops) {
            Tape& tape = *ops.tape;
            const Tensor dy = tape.gradient(output).rows();
            const Tensor dx = tape.room_for(ops, x);
            const Tensor dweight = tape.leaf_gradient(weight), dbias = tape.leaf_gradient(bias);
            call(ops, vin_linear_backward_args{dx.rows().view(), dweight.view(), dbias.view(), dy.view(),
                                               x.rows().view(), weight.view()});
            tape.add(ops, x, dx);
        });
    }
    if (epilogue.activation == VIN_ACTIVATION_GELU) y = gelu(ops, y);
    if (epilogue.activation == VIN_ACTIVATION_SILU) y = silu(ops, y);
    if (epilogue.gate) return gated_residual(ops, y, epilogue.gate, epilogue.group, epilogue.residual);
    return epilogue.residual ? add(ops, y, epilogue.residual) : y;
}

Tensor conv3d(Ops& ops, const Tensor& x, const Tensor& weight_, const Tensor& bias, const Convolution& c,
              const Tensor& residual) {
    const Tensor weight =
        weight_.rank() == 5 ? weight_
                            : weight_.reshape({weight_.size(0), weight_.size(1), 1, weight_.size(2), weight_.size(3)});
    expect(x.rank() == 4 && x.size(3) == weight.size(1), "conv3d: expected [T, H, W, ", weight.size(1), "] but found ",
           x.shape());
    const auto size = [](int64_t given, int64_t input, int stride) {
        return given ? given : (input + stride - 1) / stride;
    };
    Tensor y = ops.empty({size(c.out_t, x.size(0), c.stride_t), size(c.out_h, x.size(1), c.stride_s),
                          size(c.out_w, x.size(2), c.stride_s), weight.size(0)});
    const bool fused = !ops.training;
    call(ops, vin_conv3d_args{y.view(), x.view(), weight.view(), bias.view(), (fused ? residual : Tensor()).view(),
                              c.stride_t, c.stride_s, c.pad_t, c.pad_s});
    if (ops.wants(x) || ops.wants(weight) || ops.wants(bias)) {
        ops.tape->record(y, [x, weight, bias, c, output = TensorKey(y)](Ops& ops) {
            Tape& tape = *ops.tape;
            const Tensor dx = tape.room_for(ops, x);
            const Tensor dweight = tape.leaf_gradient(weight), dbias = tape.leaf_gradient(bias);
            call(ops, vin_conv3d_backward_args{dx.view(), dweight.view(), dbias.view(), tape.gradient(output).view(),
                                               x.view(), weight.view(), c.stride_t, c.stride_s, c.pad_t, c.pad_s});
            tape.add(ops, x, dx);
        });
    }
    return fused || !residual ? y : add(ops, y, residual);
}

}  // namespace vin
