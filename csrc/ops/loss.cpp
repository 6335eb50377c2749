// Losses. The gradient of a loss is known at once, so each adds it to its inputs and leaves nothing to record.
#include "ops.h"

namespace vin {

void squared_error(Ops& ops, const Tensor& loss, const Tensor& prediction, const Tensor& target,
                   const Tensor& frame_weight, double scale, double gradient_scale) {
    call(ops, vin_squared_error_args{loss.view(), prediction.view(), target.view(), frame_weight.view(), scale});
    if (!ops.wants(prediction)) return;
    const Tensor d = ops.empty(prediction.shape());
    call(ops, vin_squared_error_backward_args{d.view(), prediction.view(), target.view(), frame_weight.view(),
                                              scale * gradient_scale});
    ops.tape->add(ops, prediction, d);
}

void reconstruction_loss(Ops& ops, const Tensor& loss, const Tensor& prediction, const Tensor& target,
                         const Tensor& weight, double l1, double mse) {
    call(ops, vin_reconstruction_loss_args{loss.view(), prediction.rows().view(), target.rows().view(), weight.view(),
                                           l1, mse});
    if (!ops.wants(prediction)) return;
    const Tensor d = ops.empty(prediction.shape());
    call(ops, vin_reconstruction_loss_backward_args{d.rows().view(), prediction.rows().view(), target.rows().view(),
                                                    weight.view(), l1, mse});
    ops.tape->add(ops, prediction, d);
}

void gaussian_kl(Ops& ops, const Tensor& loss, const Tensor& moments, double scale) {
    call(ops, vin_gaussian_kl_args{loss.view(), moments.rows().view(), scale});
    if (!ops.wants(moments)) return;
    const Tensor d = ops.empty(moments.shape());
    call(ops, vin_gaussian_kl_backward_args{d.rows().view(), moments.rows().view(), scale});
    ops.tape->add(ops, moments, d);
}

Tensor gaussian_sample(Ops& ops, const Tensor& moments, const Tensor& noise) {
    Tensor y = ops.empty(noise.shape());
    call(ops, vin_gaussian_sample_args{y.rows().view(), moments.rows().view(), noise.rows().view()});
    if (ops.wants(moments)) {
        ops.tape->record(y, [moments, noise, output = TensorKey(y)](Ops& ops) {
            const Tensor d = ops.empty(moments.shape());
            call(ops, vin_gaussian_sample_backward_args{d.rows().view(), ops.tape->gradient(output).rows().view(),
                                                        moments.rows().view(), noise.rows().view()});
            ops.tape->add(ops, moments, d);
        });
    }
    return y;
}

}  // namespace vin
