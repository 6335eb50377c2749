// With n = x · rstd and t = dy turned back: dweight += Σ t · n, and for g = t · weight: dx = rstd · (g − n · mean(g ·
// n)). Without weight dx = t.
#include "pairs.h"

namespace vin::cpu::VIN_CPU_ISA {

// dweight [d] is added to when it is given.
static void row_gradient(float* dx, float* dweight, const float* dy, const float* x, const float* weight,
                         const float* line, float rstd, int64_t d) {
    const auto turned = [&](int64_t i) {
        const vf v = load_up_to(dy + i, d - i);
        return line ? turn_back(v, load_up_to(line + i, d - i)) : v;
    };
    if (!weight) {
        for (int64_t i = 0; dx && i < d; i += W) store_up_to(dx + i, turned(i), d - i);
        return;
    }
    vf sum_gn = {};
    for (int64_t i = 0; i < d; i += W) {
        const vf tn = turned(i) * (load_up_to(x + i, d - i) * set1(rstd));
        if (dweight) store_up_to(dweight + i, load_up_to(dweight + i, d - i) + tn, d - i);
        sum_gn += tn * load_up_to(weight + i, d - i);
    }
    const vf mean_gn = set1(sum(sum_gn) / (float)d);
    for (int64_t i = 0; dx && i < d; i += W) {
        const vf n = load_up_to(x + i, d - i) * set1(rstd);
        store_up_to(dx + i, set1(rstd) * (turned(i) * load_up_to(weight + i, d - i) - n * mean_gn), d - i);
    }
}

vin_status rms_norm_rope_backward(vin_stream* stream, const vin_rms_norm_rope_backward_args* args) {
    const vin_tensor &dx = args->dx, &dweight = args->dweight, &dy = args->dy, &x = args->x, &rstd = args->rstd;
    const vin_tensor &weight = args->weight, &rope = args->rope;
    if (vin_status status = expect("dy", dy, VIN_ROWS, -1, -1, -1)) return status;
    const int64_t R = dy.shape[0], H = dy.shape[1], d = dy.shape[2];
    if (vin_status status = expect_if_present("weight", weight, VIN_DENSE, d)) return status;
    if (present(weight)) {
        if (vin_status status = expect("x", x, VIN_ROWS, R, H, d)) return status;
        if (vin_status status = expect("rstd", rstd, VIN_DENSE, R, H)) return status;
    }
    if (vin_status status = expect_if_present("dx", dx, VIN_ROWS, R, H, d)) return status;
    if (vin_status status = expect_if_present("dweight", dweight, VIN_DENSE, d)) return status;
    if (vin_status status = expect_rope(rope, d, args->rows_per_position)) return status;

    // Each task sums dweight over its own rows; the partial sums are then added in row order. Their number depends on R
    // alone.
    const bool weighted = present(weight) && present(dweight);
    const int64_t rows_per_task = max(8, (R + 511) / 512), tasks = (R + rows_per_task - 1) / rows_per_task;
    float* partial = nullptr;
    if (weighted && tasks > 0) {
        partial = scratch(stream, 0, tasks * d);
        if (!partial) return vin_cpu_no_memory();
        memset(partial, 0, (size_t)(tasks * d) * 4);
    }
    parallel(stream, tasks, [&](int64_t task) {
        for (int64_t r = task * rows_per_task; r < min(R, (task + 1) * rows_per_task); r++) {
            const float* line = rope_line(rope, r, args->rows_per_position);
            for (int64_t h = 0; h < H; h++)
                row_gradient(at_if_present(dx, r, h), partial ? partial + task * d : nullptr, at(dy, r, h),
                             present(weight) ? at(x, r, h) : nullptr, present(weight) ? f32(weight) : nullptr, line,
                             present(weight) ? f32(rstd)[r * H + h] : 1.f, d);
        }
    });
    for (int64_t i = 0; partial && i < d; i++) {
        float total = 0;
        for (int64_t task = 0; task < tasks; task++) total += partial[task * d + i];
        f32(dweight)[i] += total;
    }
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
