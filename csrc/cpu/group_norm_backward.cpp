// With n = (x − mean) · rstd, z = n · weight + bias, dz = dy · silu'(z) (or dy) and g = dz · weight:
//   dweight[c] += Σ dz · n, dbias[c] += Σ dz, dx = rstd · (g − mean(g) − n · mean(g · n)), means over an image's group.
#include "group_norm_channels.h"

namespace vin::cpu::VIN_CPU_ISA {

vin_status group_norm_backward(vin_stream* stream, const vin_group_norm_backward_args* args) {
    const vin_tensor &dx = args->dx, &dweight = args->dweight, &dbias = args->dbias, &dy = args->dy, &x = args->x,
                     &stats = args->stats;
    const vin_tensor &weight = args->weight, &bias = args->bias;
    if (vin_status status = expect("x", x, VIN_DENSE, -1, -1, -1)) return status;
    const GroupNormShape s = group_norm_shape(x, args->groups);
    if (vin_status status = expect_groups(s)) return status;
    if (vin_status status = expect("dy", dy, VIN_DENSE, s.B, s.P, s.C)) return status;
    if (vin_status status = expect("stats", stats, VIN_DENSE, s.B, s.groups, 2)) return status;
    if (vin_status status = expect("weight", weight, VIN_DENSE, s.C)) return status;
    if (vin_status status = expect("bias", bias, VIN_DENSE, s.C)) return status;
    if (vin_status status = expect_if_present("dx", dx, VIN_DENSE, s.B, s.P, s.C)) return status;
    if (vin_status status = expect_if_present("dweight", dweight, VIN_DENSE, s.C)) return status;
    if (vin_status status = expect_if_present("dbias", dbias, VIN_DENSE, s.C)) return status;
    if (s.B == 0 || s.P == 0 || s.C == 0) return VIN_OK;

    double* sums = scratch<double>(stream, 0, s.B * s.blocks * s.C * 2);
    // [B, 4, C]: mean, rstd, mean(g), mean(g · n) of each channel
    float* channel = scratch(stream, 2, s.B * s.C * 4);
    if (!sums || !channel) return vin_cpu_no_memory();
    const int64_t channels = s.C / s.groups;
    for (int64_t b = 0; b < s.B; b++)
        for (int64_t c = 0; c < s.C; c++)
            for (int64_t k = 0; k < 2; k++)
                channel[(b * 4 + k) * s.C + c] = f32(stats)[(b * s.groups + c / channels) * 2 + k];

    const bool silu = args->silu != 0;
    const auto normalised = [&](int64_t image, int64_t row, int64_t c, int64_t left) {
        const float* mean = channel + image * 4 * s.C + c;
        return (load_up_to(f32(x) + (image * s.P + row) * s.C + c, left) - load_up_to(mean, left)) *
               load_up_to(mean + s.C, left);
    };
    const auto output_gradient = [&](vf n, int64_t image, int64_t row, int64_t c, int64_t left) {  // dz
        const vf g = load_up_to(f32(dy) + (image * s.P + row) * s.C + c, left);
        if (!silu) return g;
        const vf z = n * load_up_to(f32(weight) + c, left) + load_up_to(f32(bias) + c, left), sig = sigmoid(z);
        return g * sig * (set1(1.f) + z * (set1(1.f) - sig));
    };

    channel_sums(stream, s, sums, [&](vf& a, vf& b, int64_t image, int64_t row, int64_t c, int64_t left) {
        b = normalised(image, row, c, left);
        a = output_gradient(b, image, row, c, left);
    });
    add_blocks(s, sums);
    for (int64_t c = 0; c < s.C; c++) {
        double sum_dz = 0, sum_dzn = 0;
        for (int64_t b = 0; b < s.B; b++) {
            sum_dz += image_sums(s, sums, b)[2 * c];
            sum_dzn += image_sums(s, sums, b)[2 * c + 1];
        }
        if (present(dbias)) f32(dbias)[c] += (float)sum_dz;
        if (present(dweight)) f32(dweight)[c] += (float)sum_dzn;
    }
    if (!present(dx)) return VIN_OK;

    for (int64_t b = 0; b < s.B; b++)
        for (int64_t g = 0; g < s.groups; g++)
            for (int64_t k = 0; k < 2; k++) {
                double total = 0;
                for (int64_t c = g * channels; c < (g + 1) * channels; c++)
                    total += f32(weight)[c] * image_sums(s, sums, b)[2 * c + k];
                for (int64_t c = g * channels; c < (g + 1) * channels; c++)
                    channel[(b * 4 + 2 + k) * s.C + c] = (float)(total / (double)(s.P * channels));
            }
    each_row(stream, s.B * s.P, silu ? 24 * s.C : 6 * s.C, [&](int64_t r) {
        const int64_t image = r / s.P, row = r % s.P;
        for (int64_t c = 0; c < s.C; c += W) {
            const int64_t left = s.C - c;
            const float* of = channel + image * 4 * s.C + c;
            const vf n = normalised(image, row, c, left);
            const vf g = output_gradient(n, image, row, c, left) * load_up_to(f32(weight) + c, left);
            store_up_to(f32(dx) + r * s.C + c,
                        load_up_to(of + s.C, left) *
                            (g - load_up_to(of + 2 * s.C, left) - n * load_up_to(of + 3 * s.C, left)),
                        left);
        }
    });
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
