// y = fa·a + fb·b + fc·c + fd·d in fp64, rounded once. Absent operands take no part.
#include "strided.h"

namespace vin::cpu::VIN_CPU_ISA {

template <int N>
static void combine(vin_stream* stream, const vin_tensor& y, const vin_tensor* const* terms, const double* factors) {
    const vin_tensor* operands[N + 1] = {&y};
    for (int k = 0; k < N; k++) operands[k + 1] = terms[k];
    const Walk<N + 1> w = walk<N + 1>((const vin_tensor* const(&)[N + 1]) operands);
    for_each_run(stream, w, N, [&](const int64_t (&offset)[N + 1], int64_t n) {
        float* to = f32(y) + offset[0];
        const float* from[N];
        bool contiguous = w.step[0] == 1;
        for (int k = 0; k < N; k++) {
            from[k] = f32(*terms[k]) + offset[k + 1];
            contiguous = contiguous && w.step[k + 1] == 1;
        }
        if (contiguous) {
            for (int64_t i = 0; i < n; i++) {
                double total = factors[0] * from[0][i];
                for (int k = 1; k < N; k++) total += factors[k] * from[k][i];
                to[i] = (float)total;
            }
        } else {
            for (int64_t i = 0; i < n; i++) {
                double total = factors[0] * from[0][i * w.step[1]];
                for (int k = 1; k < N; k++) total += factors[k] * from[k][i * w.step[k + 1]];
                to[i * w.step[0]] = (float)total;
            }
        }
    });
}

vin_status linear_combination(vin_stream* stream, const vin_linear_combination_args* args) {
    const vin_tensor* const all[4] = {&args->a, &args->b, &args->c, &args->d};
    const double all_factors[4] = {args->fa, args->fb, args->fc, args->fd};
    static const char* const names[4] = {"a", "b", "c", "d"};
    if (vin_status status = expect_like("y", args->y, VIN_STRIDED_OUTPUT, args->a)) return status;
    const vin_tensor* terms[4];
    double factors[4];
    int n = 0;
    for (int k = 0; k < 4; k++) {
        if (k > 0 && !present(*all[k])) continue;
        if (vin_status status = expect_like(names[k], *all[k], VIN_STRIDED, args->y)) return status;
        terms[n] = all[k];
        factors[n++] = all_factors[k];
    }
    if (n == 1) combine<1>(stream, args->y, terms, factors);
    if (n == 2) combine<2>(stream, args->y, terms, factors);
    if (n == 3) combine<3>(stream, args->y, terms, factors);
    if (n == 4) combine<4>(stream, args->y, terms, factors);
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
