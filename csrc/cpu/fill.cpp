// y = value, any dtype (rounded as copy does).
#include "convert.h"
#include "strided.h"

namespace vin::cpu::VIN_CPU_ISA {

template <int DTYPE>
static void fill_all(vin_stream* stream, const vin_tensor& y, double value) {
    const Walk<1> w = walk<1>({&y});
    for_each_run(stream, w, 1, [&](const int64_t (&offset)[1], int64_t n) {
        if (w.step[0] == 1)
            for (int64_t i = 0; i < n; i++) put<DTYPE>(y.data, offset[0] + i, value);
        else
            for (int64_t i = 0; i < n; i++) put<DTYPE>(y.data, offset[0] + i * w.step[0], value);
    });
}

vin_status fill(vin_stream* stream, const vin_fill_args* args) {
    const vin_tensor& y = args->y;
    if (vin_status status = expect_dtype("y", y)) return status;
    if (vin_status status = expect_like("y", y, VIN_STRIDED_OUTPUT, y, -1)) return status;
    if (y.dtype == VIN_DTYPE_F32) fill_all<VIN_DTYPE_F32>(stream, y, args->value);
    if (y.dtype == VIN_DTYPE_BF16) fill_all<VIN_DTYPE_BF16>(stream, y, args->value);
    if (y.dtype == VIN_DTYPE_F16) fill_all<VIN_DTYPE_F16>(stream, y, args->value);
    if (y.dtype == VIN_DTYPE_I32) fill_all<VIN_DTYPE_I32>(stream, y, args->value);
    if (y.dtype == VIN_DTYPE_U8) fill_all<VIN_DTYPE_U8>(stream, y, args->value);
    if (y.dtype == VIN_DTYPE_F64) fill_all<VIN_DTYPE_F64>(stream, y, args->value);
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
