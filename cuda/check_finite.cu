// flag [1] becomes code + 1 when x [R, C] holds a NaN or Inf and flag is still 0.
#include "reduce.cuh"
#include "rows.cuh"

using namespace vin::cuda;

VIN_KERNEL count_not_finite_kernel(int* found, Rows x, i64 C, Reduction r);
VIN_KERNEL check_finite_kernel(int* flag, const int* found, i64 slices, int code);

#if VIN_DEVICE
VIN_KERNEL count_not_finite_kernel(int* found, Rows x, i64 C, Reduction r) {
    sum_slices<1>(r, found, [&](int (&value)[1], i64, i64 i) {
        value[0] = (__float_as_uint(row_of(x, i / C)[i % C]) & 0x7f800000u) == 0x7f800000u;  // exponent of Inf and NaN
    });
}
VIN_EMULATED_KERNEL(count_not_finite_kernel)

VIN_KERNEL check_finite_kernel(int* flag, const int* found, i64 slices, int code) {
    int any = 0;
    for (i64 i = 0; i < slices; i++) any |= found[i];
    if (any && flag[0] == 0) flag[0] = code + 1;
}
VIN_EMULATED_KERNEL(check_finite_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_check_finite(vin_stream* stream, const vin_check_finite_args* args) {
    const vin_tensor &flag = args->flag, &x = args->x;
    VIN_CHECK(expect("check_finite", "flag", flag, VIN_DTYPE_I32, DENSE, 1));
    VIN_CHECK(expect("check_finite", "x", x, VIN_DTYPE_F32, ROWS, -1, -1));
    if (count(x) == 0) return VIN_OK;
    const Reduction r = reduction(1, count(x), true);
    int* found;
    VIN_CHECK(partials_of(stream, r, 1, &found));
    VIN_CHECK(launch(reduce_grid(r), reduce_block, reduce_shared_bytes<int>(1), stream,
                     VIN_KERNEL_OF(count_not_finite_kernel), found, rows(x), x.shape[1], r));
    return launch({1}, {1}, 0, stream, VIN_KERNEL_OF(check_finite_kernel), i32(flag), found, r.slices, (int)args->code);
}
#endif
