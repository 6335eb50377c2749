// y [n, d]: (cos, sin) of position[n] · freqs[d/2], pairs adjacent; fp64 inside.
#include "rows.cuh"
#include "strided.cuh"

using namespace vin::cuda;

VIN_KERNEL rope_table_kernel(Rows y, const float* position, const float* freqs, i64 n, i64 half);

#if VIN_DEVICE
VIN_KERNEL rope_table_kernel(Rows y, const float* position, const float* freqs, i64 n, i64 half) {
    for_each_item(n * half, [&](i64 item) {
        const i64 i = item / half, k = item % half;
        const double angle = (double)position[i] * (double)freqs[k];
        row_of(y, i)[2 * k] = (float)cos(angle);
        row_of(y, i)[2 * k + 1] = (float)sin(angle);
    });
}
VIN_EMULATED_KERNEL(rope_table_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_rope_table(vin_stream* stream, const vin_rope_table_args* args) {
    const vin_tensor &position = args->position, &freqs = args->freqs;
    VIN_CHECK(expect("rope_table", "position", position, VIN_DTYPE_F32, DENSE, -1));
    VIN_CHECK(expect("rope_table", "freqs", freqs, VIN_DTYPE_F32, DENSE, -1));
    const int64_t n = position.shape[0], half = freqs.shape[0];
    VIN_CHECK(expect("rope_table", "y", args->y, VIN_DTYPE_F32, ROWS, n, 2 * half));
    return launch_over(n * half, stream, VIN_KERNEL_OF(rope_table_kernel), rows(args->y), f32(position), f32(freqs), n,
                       half);
}
#endif
