// z = (x − mean) · rstd · weight + bias with the statistics of each image and group of channels: x [B, P, C], stats [B,
// groups, 2] = mean, rstd. y = z, or z · sigmoid(z) with silu. Sums and variance in fp64.
#include "group_norm_channels.h"

namespace vin::cpu::VIN_CPU_ISA {

vin_status group_norm(vin_stream* stream, const vin_group_norm_args* args) {
    const vin_tensor &y = args->y, &stats = args->stats, &x = args->x, &weight = args->weight, &bias = args->bias;
    if (vin_status status = expect("x", x, VIN_DENSE, -1, -1, -1)) return status;
    const GroupNormShape s = group_norm_shape(x, args->groups);
    if (vin_status status = expect_groups(s)) return status;
    if (vin_status status = expect_if_present("y", y, VIN_DENSE, s.B, s.P, s.C)) return status;
    if (vin_status status = expect_if_present("stats", stats, VIN_DENSE, s.B, s.groups, 2)) return status;
    if (vin_status status = expect("weight", weight, VIN_DENSE, s.C)) return status;
    if (vin_status status = expect("bias", bias, VIN_DENSE, s.C)) return status;
    if (s.B == 0 || s.P == 0 || s.C == 0) return VIN_OK;

    double* sums = scratch<double>(stream, 0, s.B * s.blocks * s.C * 2);
    float* centre = scratch(stream, 2, s.B * s.C * 2);  // [B, 2, C]: mean, then rstd · weight, of each channel
    if (!sums || !centre) return vin_cpu_no_memory();

    channel_sums(stream, s, sums, [&](vf& a, vf& b, int64_t image, int64_t row, int64_t c, int64_t left) {
        a = b = load_up_to(f32(x) + (image * s.P + row) * s.C + c, left);
    });
    add_blocks(s, sums);
    const int64_t channels = s.C / s.groups;
    for (int64_t b = 0; b < s.B; b++)
        for (int64_t g = 0; g < s.groups; g++) {
            double total = 0, squares = 0;
            for (int64_t c = g * channels; c < (g + 1) * channels; c++) {
                total += image_sums(s, sums, b)[2 * c];
                squares += image_sums(s, sums, b)[2 * c + 1];
            }
            const double n = (double)(s.P * channels), mean = total / n, variance = squares / n - mean * mean;
            const double rstd = 1 / sqrt((variance < 0 ? 0 : variance) + (double)args->eps);
            for (int64_t c = g * channels; c < (g + 1) * channels; c++) {
                centre[b * 2 * s.C + c] = (float)mean;
                centre[b * 2 * s.C + s.C + c] = (float)rstd * f32(weight)[c];
            }
            if (present(stats)) {
                f32(stats)[(b * s.groups + g) * 2] = (float)mean;
                f32(stats)[(b * s.groups + g) * 2 + 1] = (float)rstd;
            }
        }
    if (!present(y)) return VIN_OK;

    const bool silu = args->silu != 0;
    each_row(stream, s.B * s.P, silu ? 16 * s.C : 2 * s.C, [&](int64_t row) {
        const float *from = f32(x) + row * s.C, *mean = centre + row / s.P * 2 * s.C, *factor = mean + s.C;
        for (int64_t c = 0; c < s.C; c += W) {
            const int64_t left = s.C - c;
            const vf z = (load_up_to(from + c, left) - load_up_to(mean + c, left)) * load_up_to(factor + c, left) +
                         load_up_to(f32(bias) + c, left);
            store_up_to(f32(y) + row * s.C + c, silu ? silu_of(z) : z, left);
        }
    });
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
