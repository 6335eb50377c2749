// y [1] = min(1, max_norm / (√sum_squares + 1e-6)); max_norm 0: 1, no clipping. NaN where no update may follow: the
// norm is not finite, or fp32 does not hold its square after clipping.
#include <float.h>

#include "check.h"

namespace vin::cpu::VIN_CPU_ISA {

vin_status clip_coefficient(vin_stream*, const vin_clip_coefficient_args* args) {
    const vin_tensor &y = args->y, &sum_squares = args->sum_squares;
    if (vin_status status = expect("y", y, VIN_DENSE, 1)) return status;
    if (vin_status status = expect_typed("sum_squares", sum_squares, VIN_DTYPE_F64, VIN_DENSE, 1)) return status;
    if (!(args->max_norm >= 0))
        return vin_cpu_refuse(VIN_INVALID, "expected max_norm of at least 0, found %g", args->max_norm);
    const double norm = sqrt(*f64(sum_squares)), coefficient = args->max_norm / (norm + 1e-6),
                 clipped = args->max_norm > 0 && args->max_norm < norm ? args->max_norm : norm;
    if (!(norm <= DBL_MAX) || clipped > sqrt((double)FLT_MAX))
        f32(y)[0] = NAN;
    else
        f32(y)[0] = args->max_norm == 0 || coefficient >= 1 ? 1.f : (float)coefficient;
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
