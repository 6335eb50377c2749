// y [1] = min(1, max_norm / (√sum_squares + 1e-6)); max_norm 0: 1, no clipping.
#include "device.cuh"

using namespace vin::cuda;

VIN_KERNEL clip_coefficient_kernel(float* y, const double* sum_squares, double max_norm);

#if VIN_DEVICE
// One thread.
VIN_KERNEL clip_coefficient_kernel(float* y, const double* sum_squares, double max_norm) {
    const double coefficient = max_norm / (sqrt(*sum_squares) + 1e-6);
    *y = max_norm == 0 || coefficient >= 1 ? 1.f : (float)coefficient;  // NaN stays
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
