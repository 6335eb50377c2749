// y = (x − mean) · rstd · (1 + scale[group]) + shift[group], for each row of x [R, C]; scale and shift [groups, C].
// stats [R, 2] keeps mean and rstd for the backward pass. The variance is the biased one, from a second pass over the
// row.
#include "check.h"
#include "rows.h"

namespace vin::cpu::VIN_CPU_ISA {

static void normalise_row(float* y, float* stats, const float* x, const float* scale, const float* shift, int64_t C,
                          float eps) {
    vf total = {};
    for (int64_t c = 0; c < C; c += W) total += load_up_to(x + c, C - c);
    const float mean = sum(total) / (float)C;

    vf squares = {};
    for (int64_t c = 0; c < C; c += W) {
        const vf centred = keep_up_to(load_up_to(x + c, C - c) - set1(mean), C - c);
        squares += centred * centred;
    }
    const float rstd = 1.f / sqrtf(sum(squares) / (float)C + eps);

    for (int64_t c = 0; y && c < C; c += W) {
        vf v = (load_up_to(x + c, C - c) - set1(mean)) * set1(rstd);
        if (scale) v = v * (set1(1.f) + load_up_to(scale + c, C - c));
        if (shift) v = v + load_up_to(shift + c, C - c);
        store_up_to(y + c, v, C - c);
    }
    if (stats) {
        stats[0] = mean;
        stats[1] = rstd;
    }
}

vin_status layer_norm_modulate(vin_stream* stream, const vin_layer_norm_modulate_args* args) {
    const vin_tensor &y = args->y, &stats = args->stats, &x = args->x, &scale = args->scale, &shift = args->shift,
                     &group = args->group;
    if (vin_status status = expect("x", x, VIN_ROWS, -1, -1)) return status;
    const int64_t R = x.shape[0], C = x.shape[1];
    if (vin_status status = expect_if_present("y", y, VIN_ROWS, R, C)) return status;
    if (vin_status status = expect_if_present("stats", stats, VIN_DENSE, R, 2)) return status;
    if (vin_status status = expect_if_present("scale", scale, VIN_ROWS, -1, C)) return status;
    if (vin_status status = expect_if_present("shift", shift, VIN_ROWS, -1, C)) return status;
    const vin_tensor* const modulations[] = {&scale, &shift};
    for (const vin_tensor* t : modulations)
        if (present(*t))
            if (vin_status status = expect_group(group, R, t->shape[0])) return status;
    each_row(stream, R, 8 * C, [&](int64_t r) {
        normalise_row(at_if_present(y, r), present(stats) ? f32(stats) + 2 * r : nullptr, at(x, r),
                      group_row(scale, group, r), group_row(shift, group, r), C, args->eps);
    });
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
