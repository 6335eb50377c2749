// y = x between any dtypes. bf16 and f16 round to nearest even, i32 and u8 drop the fraction and saturate (NaN becomes
// 0).
#include "convert.h"
#include "strided.h"

namespace vin::cpu::VIN_CPU_ISA {

// Every value of every dtype is exact in fp64, so one conversion each way is enough.
template <int FROM, int TO>
static void convert_run(void* y, int64_t step_y, const void* x, int64_t step_x, int64_t n) {
    for (int64_t i = 0; i < n; i++) put<TO>(y, i * step_y, get<FROM>(x, i * step_x));
}

typedef void (*Convert)(void*, int64_t, const void*, int64_t, int64_t);

template <int FROM>
static Convert converter_to(int32_t to) {
    static const Convert table[] = {convert_run<FROM, 0>, convert_run<FROM, 1>, convert_run<FROM, 2>,
                                    convert_run<FROM, 3>, convert_run<FROM, 4>, convert_run<FROM, 5>};
    return table[to];
}
static Convert converter(int32_t from, int32_t to) {
    static Convert (*const table[])(int32_t) = {converter_to<0>, converter_to<1>, converter_to<2>,
                                                converter_to<3>, converter_to<4>, converter_to<5>};
    return table[from](to);
}

// y = convert(x) of a run of one type.
template <class To, class From, class F>
static void convert_each(void* y, int64_t step_y, const void* x, int64_t step_x, int64_t n, const F& convert) {
    To* to = (To*)y;
    const From* from = (const From*)x;
    if (step_y == 1 && step_x == 1)
        for (int64_t i = 0; i < n; i++) to[i] = convert(from[i]);
    else
        for (int64_t i = 0; i < n; i++) to[i * step_y] = convert(from[i * step_x]);
}
static void copy_f32(void* y, int64_t step_y, const void* x, int64_t step_x, int64_t n) {
    if (step_y == 1 && step_x == 1)
        memmove(y, x, (size_t)n * 4);
    else
        convert_each<float, float>(y, step_y, x, step_x, n, [](float v) { return v; });
}
static void bf16_to_f32(void* y, int64_t step_y, const void* x, int64_t step_x, int64_t n) {
    convert_each<uint32_t, uint16_t>(y, step_y, x, step_x, n, [](uint16_t bits) { return (uint32_t)bits << 16; });
}
static void f32_to_bf16(void* y, int64_t step_y, const void* x, int64_t step_x, int64_t n) {
    convert_each<uint16_t, uint32_t>(y, step_y, x, step_x, n, bf16_of_bits);
}

vin_status copy(vin_stream* stream, const vin_copy_args* args) {
    const vin_tensor &y = args->y, &x = args->x;
    if (vin_status status = expect_dtype("x", x)) return status;
    if (vin_status status = expect_dtype("y", y)) return status;
    if (vin_status status = expect_like("y", y, VIN_STRIDED_OUTPUT, x, -1)) return status;
    if (vin_status status = expect_like("x", x, VIN_STRIDED, y, -1)) return status;
    Convert run = converter(x.dtype, y.dtype);
    if (x.dtype == VIN_DTYPE_F32 && y.dtype == VIN_DTYPE_F32) run = copy_f32;
    if (x.dtype == VIN_DTYPE_BF16 && y.dtype == VIN_DTYPE_F32) run = bf16_to_f32;
    if (x.dtype == VIN_DTYPE_F32 && y.dtype == VIN_DTYPE_BF16) run = f32_to_bf16;
    const Walk<2> w = walk<2>({&y, &x});
    const int64_t size_y = dtype_size(y.dtype), size_x = dtype_size(x.dtype);
    for_each_run(stream, w, 2, [&](const int64_t (&offset)[2], int64_t n) {
        run((char*)y.data + offset[0] * size_y, w.step[0], (const char*)x.data + offset[1] * size_x, w.step[1], n);
    });
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
