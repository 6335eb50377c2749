// y = fa·a + fb·b + fc·c + fd·d in fp64, rounded once. Absent operands take no part.
#include "strided.cuh"

using namespace vin::cuda;

// Operand 0 of the walk is y, operand k + 1 the k-th term; operands past the last term are y again.
struct Combination {
    int terms;
    const float* term[4];
    double factor[4];
};

VIN_KERNEL linear_combination_kernel(float* y, Combination sum, Walk<5> w);

#if VIN_DEVICE
VIN_KERNEL linear_combination_kernel(float* y, Combination sum, Walk<5> w) {
    for_each_element(w, [&](const i64* at) {
        // Where products are fused with sums follows the CPU's kernel: the first two terms round the second product.
        const double first = sum.term[0][at[1]];
        double total = sum.terms > 1 ? fma(sum.factor[0], first, __dmul_rn(sum.factor[1], (double)sum.term[1][at[2]]))
                                     : sum.factor[0] * first;
        VIN_UNROLL
        for (int k = 2; k < 4; k++)
            if (k < sum.terms) total = fma(sum.factor[k], (double)sum.term[k][at[k + 1]], total);
        y[at[0]] = (float)total;
    });
}
VIN_EMULATED_KERNEL(linear_combination_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_linear_combination(vin_stream* stream, const vin_linear_combination_args* args) {
    const char* const op = "linear_combination";
    const vin_tensor& y = args->y;
    VIN_CHECK(expect_like(op, "y", y, VIN_DTYPE_F32, STRIDED_OUTPUT, args->a));
    const vin_tensor* const terms[4] = {&args->a, &args->b, &args->c, &args->d};
    const double factors[4] = {args->fa, args->fb, args->fc, args->fd};
    static const char* const names[4] = {"a", "b", "c", "d"};
    const vin_tensor* operands[5] = {&y, &y, &y, &y, &y};
    Combination sum = {};
    for (int k = 0; k < 4; k++) {
        if (k > 0 && !present(*terms[k])) continue;
        VIN_CHECK(expect_like(op, names[k], *terms[k], VIN_DTYPE_F32, STRIDED, y));
        sum.term[sum.terms] = f32(*terms[k]);
        sum.factor[sum.terms++] = factors[k];
        operands[sum.terms] = terms[k];
    }
    const Walk<5> w = walk<5>((const vin_tensor* const(&)[5])operands);
    return launch_over(w.elements, stream, VIN_KERNEL_OF(linear_combination_kernel), f32(y), sum, w);
}
#endif
