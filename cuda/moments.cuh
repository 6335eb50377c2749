// The diagonal Gaussian of the VAE: moments [R, 2C] hold the mean and then the log variance, which counts as clamped to
// −30 … 20.
#pragma once
#include "rows.cuh"
#include "strided.cuh"

namespace vin {
namespace cuda {

#if VIN_DEVICE
VIN_DEVICE_FUNCTION double clamp_logvar(double x) { return x < -30 ? -30 : x > 20 ? 20 : x; }  // NaN stays
// d clamp_logvar / dx
VIN_DEVICE_FUNCTION double clamp_slope(double x) { return x < -30 || x > 20 ? 0 : 1; }
#endif

#if VIN_HOST
// R and C are handed back.
inline vin_status expect_moments(const char* op, const vin_tensor& moments, int64_t* R, int64_t* C) {
    VIN_CHECK(expect(op, "moments", moments, VIN_DTYPE_F32, ROWS, -1, -1));
    if (moments.shape[1] % 2)
        return fail(VIN_INVALID, "%s: expected an even width of moments, found %lld", op, (long long)moments.shape[1]);
    *R = moments.shape[0];
    *C = moments.shape[1] / 2;
    return VIN_OK;
}
#endif

}  // namespace cuda
}  // namespace vin
