// The diagonal Gaussian of the VAE: moments [R, 2C] hold the mean and then the log variance, which counts as clamped to
// −30 … 20.
#pragma once
#include "check.h"

namespace vin::cpu::VIN_CPU_ISA {

static inline double clamp_logvar(double x) { return x < -30 ? -30 : x > 20 ? 20 : x; }  // NaN stays
// d clamp_logvar / dx
static inline double clamp_slope(double x) { return x < -30 || x > 20 ? 0 : 1; }

// moments [R, 2C]; R and C are handed back.
static inline vin_status expect_moments(const vin_tensor& moments, int64_t& R, int64_t& C) {
    if (vin_status status = expect("moments", moments, VIN_ROWS, -1, -1)) return status;
    if (moments.shape[1] % 2)
        return vin_cpu_refuse(VIN_INVALID, "expected an even width of moments, found %lld",
                              (long long)moments.shape[1]);
    R = moments.shape[0];
    C = moments.shape[1] / 2;
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
