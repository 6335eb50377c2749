// Layer norm with modulation, RMS norm with rotary positions, group norm.
#include "ops.h"

namespace vin {

Tensor layer_norm(Ops& ops, const Tensor& x, const Tensor& scale, const Tensor& shift, const Tensor& group, float eps) {
    const Tensor rows = x.rows();
    Tensor y = ops.empty(x.shape()), stats = ops.empty({rows.size(0), 2});
    call(ops, vin_layer_norm_modulate_args{y.rows().view(), stats.view(), rows.view(), scale.view(), shift.view(),
                                           group.view(), eps});
    if (ops.wants(x) || ops.wants(scale) || ops.wants(shift)) {
        ops.tape->record(y, [x, scale, shift = TensorKey(shift), group, stats, output = TensorKey(y)](Ops& ops) {
            Tape& tape = *ops.tape;
            const Tensor dx = tape.room_for(ops, x);
            const Tensor dscale = tape.room_for(ops, scale);
            const Tensor dshift = tape.room_for(ops, shift);
            call(ops, vin_layer_norm_modulate_backward_args{dx.rows().view(), dscale.view(), dshift.view(),
                                                            tape.gradient(output).rows().view(), x.rows().view(),
                                                            stats.view(), scale.view(), group.view()});
            tape.add(ops, x, dx);
            tape.add(ops, scale, dscale);
            tape.add(ops, shift, dshift);
        });
    }
    return y;
}

Tensor rms_norm_rope(Ops& ops, const Tensor& x, const Tensor& weight, const Rotary& rotary, float eps) {
    Tensor y = ops.empty(x.shape()), rstd = ops.empty({x.size(0), x.size(1)});
    call(ops, vin_rms_norm_rope_args{y.view(), rstd.view(), x.view(), weight.view(), rotary.table.view(),
                                     rotary.rows_per_position, eps});
    if (ops.wants(x) || ops.wants(weight)) {
        ops.tape->record(y, [x, weight, rotary, rstd, output = TensorKey(y)](Ops& ops) {
            Tape& tape = *ops.tape;
            const Tensor dx = tape.room_for(ops, x);
            call(ops, vin_rms_norm_rope_backward_args{dx.view(), tape.leaf_gradient(weight).view(),
                                                      tape.gradient(output).view(), x.view(), rstd.view(),
                                                      weight.view(), rotary.table.view(), rotary.rows_per_position});
            tape.add(ops, x, dx);
        });
    }
    return y;
}

Tensor rms_norm(Ops& ops, const Tensor& x, const Tensor& weight, float eps) {
    return rms_norm_rope(ops, x.reshape({x.rows().size(0), 1, x.size(-1)}), weight, {}, eps).reshape(x.shape());
}

Tensor group_norm(Ops& ops, const Tensor& x, const Tensor& weight, const Tensor& bias, int groups, bool silu,
                  float eps) {
    Tensor y = ops.empty(x.shape()), stats = ops.empty({x.size(0), groups, 2});
    call(ops, vin_group_norm_args{y.view(), stats.view(), x.view(), weight.view(), bias.view(), groups, silu, eps});
    if (ops.wants(x) || ops.wants(weight) || ops.wants(bias)) {
        ops.tape->record(y, [x, weight, bias, stats, groups, silu, output = TensorKey(y)](Ops& ops) {
            Tape& tape = *ops.tape;
            const Tensor dx = tape.room_for(ops, x);
            call(ops, vin_group_norm_backward_args{dx.view(), tape.leaf_gradient(weight).view(),
                                                   tape.leaf_gradient(bias).view(), tape.gradient(output).view(),
                                                   x.view(), stats.view(), weight.view(), bias.view(), groups, silu});
            tape.add(ops, x, dx);
        });
    }
    return y;
}

}  // namespace vin
