// y [rows · columns, C]: e(p) = [sin(p · f_k), cos(p · f_k)] with f_k = 10000^(−2k / (C/2)), k = 0 … C/4 − 1, of the
// column and then of the row; p = index / scale · (base_size / rows or columns). fp64 inside.
#include "rows.cuh"
#include "strided.cuh"

using namespace vin::cuda;

VIN_KERNEL position_embedding_2d_kernel(Rows y, i64 rows, i64 columns, i64 quarter, double scale, double base_size);

#if VIN_DEVICE
VIN_KERNEL position_embedding_2d_kernel(Rows y, i64 rows, i64 columns, i64 quarter, double scale, double base_size) {
    for_each_item(rows * columns * 2 * quarter, [&](i64 item) {
        const i64 k = item % quarter, of_row = item / quarter % 2, token = item / quarter / 2;
        const i64 index = of_row ? token / columns : token % columns, size = of_row ? rows : columns;
        const double p = (double)index / scale * (base_size / (double)size);
        const double angle = p * exp(-9.210340371976182736 * (double)k / (double)quarter);
        float* const to = row_of(y, token) + 2 * quarter * of_row + k;
        to[0] = (float)sin(angle);
        to[quarter] = (float)cos(angle);
    });
}
VIN_EMULATED_KERNEL(position_embedding_2d_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_position_embedding_2d(vin_stream* stream, const vin_position_embedding_2d_args* args) {
    const char* const op = "position_embedding_2d";
    const vin_tensor& y = args->y;
    const int64_t height = args->rows, width = args->columns;
    if (height < 0 || width < 0)
        return fail(VIN_INVALID, "%s: expected no negative size, found %d × %d", op, (int)args->rows,
                    (int)args->columns);
    VIN_CHECK(expect(op, "y", y, VIN_DTYPE_F32, ROWS, height * width, -1));
    if (y.shape[1] % 4)
        return fail(VIN_INVALID, "%s: expected a width divisible by 4, found %lld", op, (long long)y.shape[1]);
    const int64_t quarter = y.shape[1] / 4;
    return launch_over(height * width * 2 * quarter, stream, VIN_KERNEL_OF(position_embedding_2d_kernel), rows(y),
                       height, width, quarter, args->scale, (double)args->base_size);
}
#endif
