// For each row r and head h of x [R, H, d]: n = weight · x · rstd with rstd = 1 / √(mean(x²) + eps), then each adjacent
// pair (n₀, n₁) turns by the (cos, sin) of its line r / rows_per_position of rope [P, d]: (n₀ cos − n₁ sin, n₁ cos + n₀
// sin). Without weight there is no norm and rstd is 1.
#include "pairs.h"

namespace vin::cpu::VIN_CPU_ISA {

static float normalise_and_turn(float* y, const float* x, const float* weight, const float* line, int64_t d,
                                float eps) {
    float rstd = 1.f;
    if (weight) {
        vf squares = {};
        for (int64_t i = 0; i < d; i += W) {
            const vf v = load_up_to(x + i, d - i);
            squares += v * v;
        }
        rstd = 1.f / sqrtf(sum(squares) / (float)d + eps);
    }
    for (int64_t i = 0; y && i < d; i += W) {
        vf v = load_up_to(x + i, d - i);
        if (weight) v = v * set1(rstd) * load_up_to(weight + i, d - i);
        if (line) v = turn(v, load_up_to(line + i, d - i));
        store_up_to(y + i, v, d - i);
    }
    return rstd;
}

vin_status rms_norm_rope(vin_stream* stream, const vin_rms_norm_rope_args* args) {
    const vin_tensor &y = args->y, &rstd = args->rstd, &x = args->x, &weight = args->weight, &rope = args->rope;
    if (vin_status status = expect("x", x, VIN_ROWS, -1, -1, -1)) return status;
    const int64_t R = x.shape[0], H = x.shape[1], d = x.shape[2];
    if (vin_status status = expect_if_present("y", y, VIN_ROWS, R, H, d)) return status;
    if (vin_status status = expect_if_present("rstd", rstd, VIN_DENSE, R, H)) return status;
    if (vin_status status = expect_if_present("weight", weight, VIN_DENSE, d)) return status;
    if (vin_status status = expect_rope(rope, d, args->rows_per_position)) return status;
    each_row(stream, R, 4 * H * d, [&](int64_t r) {
        const float* line = rope_line(rope, r, args->rows_per_position);
        for (int64_t h = 0; h < H; h++) {
            float* to = at_if_present(y, r, h);
            const float* from = at(x, r, h);
            const float scale =
                normalise_and_turn(to, from, present(weight) ? f32(weight) : nullptr, line, d, args->eps);
            if (present(rstd)) f32(rstd)[r * H + h] = scale;
        }
    });
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
