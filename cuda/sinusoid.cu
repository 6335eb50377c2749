// y [n, D] = cos(x f_k), then sin(x f_k), f_k = exp(−ln(10000) · k / (D/2)). Exponent, frequency and angle are rounded
// to fp32, as published models were trained.
#include "rows.cuh"
#include "strided.cuh"

using namespace vin::cuda;

VIN_KERNEL sinusoid_kernel(Rows y, const float* x, i64 n, i64 half);

#if VIN_DEVICE
VIN_KERNEL sinusoid_kernel(Rows y, const float* x, i64 n, i64 half) {
    for_each_item(n * half, [&](i64 item) {
        const i64 i = item / half, k = item % half;
        const float exponent = -9.2103404f * (float)k / (float)half;
        const float frequency = (float)exp((double)exponent);
        const float angle = x[i] * frequency;
        row_of(y, i)[k] = (float)cos((double)angle);
        row_of(y, i)[half + k] = (float)sin((double)angle);
    });
}
VIN_EMULATED_KERNEL(sinusoid_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_sinusoid(vin_stream* stream, const vin_sinusoid_args* args) {
    const vin_tensor &y = args->y, &x = args->x;
    VIN_CHECK(expect("sinusoid", "x", x, VIN_DTYPE_F32, DENSE, -1));
    const int64_t n = x.shape[0];
    VIN_CHECK(expect("sinusoid", "y", y, VIN_DTYPE_F32, ROWS, n, -1));
    if (y.shape[1] % 2) return fail(VIN_INVALID, "sinusoid: expected an even width, found %lld", (long long)y.shape[1]);
    const int64_t half = y.shape[1] / 2;
    return launch_over(n * half, stream, VIN_KERNEL_OF(sinusoid_kernel), rows(y), f32(x), n, half);
}
#endif
