// Embeddings of numbers, positions and ids; patches.
#include "ops.h"

namespace vin {

Tensor sinusoid(Ops& ops, const Tensor& x, int64_t channels) {
    Tensor y = ops.empty({x.size(0), channels});
    call(ops, vin_sinusoid_args{y.view(), x.view()});
    return y;
}

Tensor position_embedding_2d(Ops& ops, int64_t rows, int64_t columns, int64_t channels, double scale,
                             int64_t base_size) {
    Tensor y = ops.empty({rows * columns, channels});
    call(ops, vin_position_embedding_2d_args{y.view(), static_cast<int32_t>(rows), static_cast<int32_t>(columns), scale,
                                             static_cast<int32_t>(base_size)});
    return y;
}

Tensor rope_table(Ops& ops, const Tensor& position, const Tensor& freqs) {
    Tensor y = ops.empty({position.size(0), 2 * freqs.size(0)});
    call(ops, vin_rope_table_args{y.view(), position.view(), freqs.view()});
    return y;
}

Tensor patchify(Ops& ops, const Tensor& x) {
    Tensor y = ops.empty({x.size(1), ((x.size(2) + 1) / 2) * ((x.size(3) + 1) / 2), 4 * x.size(0)});
    call(ops, vin_patchify_args{y.view(), x.view(), 0});
    return y;
}

Tensor unpatchify(Ops& ops, const Tensor& x, const Shape& latents) {
    Tensor y = ops.empty(latents);
    call(ops, vin_unpatchify_args{y.view(), x.view(), 1});
    if (ops.wants(x)) {
        ops.tape->record(y, [x = TensorKey(x), output = TensorKey(y)](Ops& ops) {
            const Tensor dx = ops.empty(x.shape());
            call(ops, vin_patchify_args{dx.view(), ops.tape->gradient(output).view(), 1});
            ops.tape->add(ops, x, dx);
        });
    }
    return y;
}

Tensor embedding(Ops& ops, const Tensor& table, const Tensor& ids) {
    Tensor y = ops.empty({ids.size(0), table.size(1)});
    call(ops, vin_embedding_args{y.view(), table.view(), ids.view()});
    if (ops.wants(table)) {
        ops.tape->record(y, [table = TensorKey(table), ids, output = TensorKey(y)](Ops& ops) {
            const Tensor dtable = ops.tape->begin(ops, table);
            call(ops, vin_embedding_backward_args{dtable.view(), ops.tape->gradient(output).view(), ids.view()});
        });
    }
    return y;
}

Tensor upsample_nearest(Ops& ops, const Tensor& x) {
    Tensor y = ops.empty({x.size(0), 2 * x.size(1), 2 * x.size(2), x.size(3)});
    call(ops, vin_upsample_nearest_args{y.view(), x.view()});
    if (ops.wants(x)) {
        ops.tape->record(y, [x = TensorKey(x), output = TensorKey(y)](Ops& ops) {
            const Tensor dx = ops.empty(x.shape());
            call(ops, vin_upsample_nearest_backward_args{dx.view(), ops.tape->gradient(output).view()});
            ops.tape->add(ops, x, dx);
        });
    }
    return y;
}

}  // namespace vin
