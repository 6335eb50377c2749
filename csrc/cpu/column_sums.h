// Sums over rows per group and column. A task owns 64 columns of every group; partial sums of at most 128 rows keep the
// rounding error small.
#pragma once
#include "rows.h"

namespace vin::cpu::VIN_CPU_ISA {

constexpr int64_t COLUMNS_PER_TASK = 64, ROWS_PER_PARTIAL = 128;

// sums[k][group[r], c] = Σ_r term(k of N values; r, c, left), where term writes N vectors. An absent sum is skipped.
// Outputs are overwritten.
template <int N, class Term>
static inline void group_column_sums(vin_stream* stream, const vin_tensor* const (&sums)[N], const vin_tensor& group,
                                     int64_t rows, int64_t columns, const Term& term) {
    parallel(stream, (columns + COLUMNS_PER_TASK - 1) / COLUMNS_PER_TASK, [&](int64_t task) {
        const int64_t first = task * COLUMNS_PER_TASK, last = min(columns, first + COLUMNS_PER_TASK);
        for (int k = 0; k < N; k++)
            for (int64_t g = 0; present(*sums[k]) && g < sums[k]->shape[0]; g++)
                memset(f32(*sums[k]) + g * sums[k]->stride[0] + first, 0, (size_t)(last - first) * 4);
        for (int64_t begin = 0, end; begin < rows; begin = end) {
            const int32_t g = present(group) ? i32(group)[begin] : 0;
            for (end = begin + 1;
                 end < rows && end < begin + ROWS_PER_PARTIAL && (!present(group) || i32(group)[end] == g);)
                end++;
            for (int64_t c = first; c < last; c += W) {
                vf partial[N] = {};
                for (int64_t r = begin; r < end; r++) {
                    vf value[N];
                    term(value, r, c, last - c);
                    for (int k = 0; k < N; k++) partial[k] += value[k];
                }
                for (int k = 0; k < N; k++) {
                    if (!present(*sums[k])) continue;
                    float* to = f32(*sums[k]) + g * sums[k]->stride[0] + c;
                    store_up_to(to, load_up_to(to, last - c) + partial[k], last - c);
                }
            }
        }
    });
}

}  // namespace vin::cpu::VIN_CPU_ISA
