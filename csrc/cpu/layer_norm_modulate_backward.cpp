// With n = (x − mean) · rstd and g = dy · (1 + scale[group]):
//   dx = rstd · (g − mean(g) − n · mean(g · n)), dscale[k] = Σ over the rows of group k of dy · n, dshift[k] = Σ dy.
#include "check.h"
#include "column_sums.h"

namespace vin::cpu::VIN_CPU_ISA {

static void input_gradient_row(float* dx, const float* dy, const float* x, const float* stats, const float* scale,
                               int64_t C) {
    const vf mean = set1(stats[0]), rstd = set1(stats[1]), one = set1(1.f);
    const auto weighted = [&](int64_t c) {  // g; its lanes past the row are 0 as dy's are
        const vf g = load_up_to(dy + c, C - c);
        return scale ? g * (one + load_up_to(scale + c, C - c)) : g;
    };
    vf sum_g = {}, sum_gn = {};
    for (int64_t c = 0; c < C; c += W) {
        const vf g = weighted(c);
        sum_g += g;
        sum_gn += keep_up_to(g * ((load_up_to(x + c, C - c) - mean) * rstd), C - c);
    }
    const vf mean_g = set1(sum(sum_g) / (float)C), mean_gn = set1(sum(sum_gn) / (float)C);
    for (int64_t c = 0; c < C; c += W) {
        const vf n = (load_up_to(x + c, C - c) - mean) * rstd;
        store_up_to(dx + c, rstd * (weighted(c) - mean_g - n * mean_gn), C - c);
    }
}

vin_status layer_norm_modulate_backward(vin_stream* stream, const vin_layer_norm_modulate_backward_args* args) {
    const vin_tensor &dx = args->dx, &dscale = args->dscale, &dshift = args->dshift, &dy = args->dy, &x = args->x,
                     &stats = args->stats;
    const vin_tensor &scale = args->scale, &group = args->group;
    if (vin_status status = expect("dy", dy, VIN_ROWS, -1, -1)) return status;
    const int64_t R = dy.shape[0], C = dy.shape[1];
    if (vin_status status = expect("x", x, VIN_ROWS, R, C)) return status;
    if (vin_status status = expect("stats", stats, VIN_DENSE, R, 2)) return status;
    if (vin_status status = expect_if_present("scale", scale, VIN_ROWS, -1, C)) return status;
    if (vin_status status = expect_if_present("dx", dx, VIN_ROWS, R, C)) return status;
    if (vin_status status = expect_if_present("dscale", dscale, VIN_ROWS, -1, C)) return status;
    if (vin_status status = expect_if_present("dshift", dshift, VIN_ROWS, -1, C)) return status;
    const vin_tensor* const grouped[] = {&scale, &dscale, &dshift};
    for (const vin_tensor* t : grouped)
        if (present(*t))
            if (vin_status status = expect_group(group, R, t->shape[0])) return status;

    // The sums first: dx may be dy or x itself.
    if (present(dscale) || present(dshift))
        group_column_sums<2>(
            stream, {&dscale, &dshift}, group, R, C, [&](vf(&value)[2], int64_t r, int64_t c, int64_t left) {
                const vf g = load_up_to(at(dy, r) + c, left);
                value[0] =
                    g * ((load_up_to(at(x, r) + c, left) - set1(f32(stats)[2 * r])) * set1(f32(stats)[2 * r + 1]));
                value[1] = g;
            });
    if (!present(dx)) return VIN_OK;
    each_row(stream, R, 8 * C, [&](int64_t r) {
        input_gradient_row(at(dx, r), at(dy, r), at(x, r), f32(stats) + 2 * r, group_row(scale, group, r), C);
    });
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
