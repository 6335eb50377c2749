// y = value, any dtype (rounded as copy does).
#include "convert.cuh"
#include "strided.cuh"

using namespace vin::cuda;

VIN_KERNEL fill_kernel(void* y, int dtype, double value, Walk<1> w);

#if VIN_DEVICE
VIN_KERNEL fill_kernel(void* y, int dtype, double value, Walk<1> w) {
    for_each_element(w, [&](const i64* at) { write_number(dtype, y, at[0], value); });
}
VIN_EMULATED_KERNEL(fill_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_fill(vin_stream* stream, const vin_fill_args* args) {
    const vin_tensor& y = args->y;
    VIN_CHECK(expect_dtype("fill", "y", y));
    VIN_CHECK(expect_like("fill", "y", y, -1, STRIDED_OUTPUT, y));
    const Walk<1> w = walk<1>({&y});
    return launch_over(w.elements, stream, VIN_KERNEL_OF(fill_kernel), y.data, y.dtype, (double)args->value, w);
}
#endif
