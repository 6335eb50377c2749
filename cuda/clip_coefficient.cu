// y [1] = min(1, max_norm / (√sum_squares + 1e-6)); max_norm 0: 1, no clipping. NaN where no update may follow: the
// norm is not finite, or fp32 does not hold its square after clipping.
#include "rows.cuh"

using namespace vin::cuda;

VIN_KERNEL clip_coefficient_kernel(float* y, const double* sum_squares, double max_norm);

#if VIN_DEVICE
// One thread.
VIN_KERNEL clip_coefficient_kernel(float* y, const double* sum_squares, double max_norm) {
    constexpr double largest_double = 1.7976931348623157e308, largest_float = 3.4028234663852886e38;
    const double norm = sqrt(*sum_squares), coefficient = max_norm / (norm + 1e-6),
                 clipped = max_norm > 0 && max_norm < norm ? max_norm : norm;
    if (!(norm <= largest_double) || clipped > sqrt(largest_float))
        *y = not_a_number();
    else
        *y = max_norm == 0 || coefficient >= 1 ? 1.f : (float)coefficient;
}
VIN_EMULATED_KERNEL(clip_coefficient_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_clip_coefficient(vin_stream* stream, const vin_clip_coefficient_args* args) {
    const char* const op = "clip_coefficient";
    const vin_tensor &y = args->y, &sum_squares = args->sum_squares;
    VIN_CHECK(expect(op, "y", y, VIN_DTYPE_F32, DENSE, 1));
    VIN_CHECK(expect(op, "sum_squares", sum_squares, VIN_DTYPE_F64, DENSE, 1));
    if (!(args->max_norm >= 0))
        return fail(VIN_INVALID, "%s: expected max_norm of at least 0, found %g", op, args->max_norm);
    return launch({1}, {1}, 0, stream, VIN_KERNEL_OF(clip_coefficient_kernel), f32(y), f64(sum_squares),
                  (double)args->max_norm);
}
#endif
