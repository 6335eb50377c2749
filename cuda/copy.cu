// y = x between any dtypes. bf16 and f16 round to nearest even, i32 and u8 drop the fraction and saturate (NaN becomes
// 0).
#include "convert.cuh"
#include "strided.cuh"

using namespace vin::cuda;

VIN_KERNEL copy_kernel(void* y, const void* x, int y_dtype, int x_dtype, Walk<2> w);
VIN_KERNEL copy_words_kernel(unsigned* y, const unsigned* x, Walk<2> w);
VIN_KERNEL copy_sixteen_bytes_kernel(Float4* y, const Float4* x, i64 items);

#if VIN_DEVICE
VIN_KERNEL copy_kernel(void* y, const void* x, int y_dtype, int x_dtype, Walk<2> w) {
    for_each_element(w, [&](const i64* at) { write_number(y_dtype, y, at[0], read_number(x_dtype, x, at[1])); });
}
VIN_EMULATED_KERNEL(copy_kernel)

// Numbers of 4 bytes that stay what they are.
VIN_KERNEL copy_words_kernel(unsigned* y, const unsigned* x, Walk<2> w) {
    for_each_element(w, [&](const i64* at) { y[at[0]] = x[at[1]]; });
}
VIN_EMULATED_KERNEL(copy_words_kernel)

VIN_KERNEL copy_sixteen_bytes_kernel(Float4* y, const Float4* x, i64 items) {
    for_each_item(items, [&](i64 i) { y[i] = x[i]; });
}
VIN_EMULATED_KERNEL(copy_sixteen_bytes_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_copy(vin_stream* stream, const vin_copy_args* args) {
    const vin_tensor &y = args->y, &x = args->x;
    VIN_CHECK(expect_dtype("copy", "x", x));
    VIN_CHECK(expect_dtype("copy", "y", y));
    VIN_CHECK(expect_like("copy", "y", y, -1, STRIDED_OUTPUT, x));
    VIN_CHECK(expect_like("copy", "x", x, -1, STRIDED, y));
    const Walk<2> w = walk<2>({&y, &x});
    if (x.dtype != y.dtype || dtype_size(x.dtype) != 4)
        return launch_over(w.elements, stream, VIN_KERNEL_OF(copy_kernel), y.data, x.data, y.dtype, x.dtype, w);
    const bool aligned = ((uintptr_t)y.data | (uintptr_t)x.data) % 16 == 0;
    if (w.rank == 1 && w.stride[0][0] == 1 && w.stride[1][0] == 1 && aligned && w.elements % 4 == 0)
        return launch_over(w.elements / 4, stream, VIN_KERNEL_OF(copy_sixteen_bytes_kernel),
                           static_cast<Float4*>(y.data), static_cast<const Float4*>(x.data), w.elements / 4);
    return launch_over(w.elements, stream, VIN_KERNEL_OF(copy_words_kernel), static_cast<unsigned*>(y.data),
                       static_cast<const unsigned*>(x.data), w);
}
#endif
