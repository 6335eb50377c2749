// Numbers of every dtype, read to and written from fp64, in which each of them is exact.
#pragma once
#include "device.cuh"

namespace vin {
namespace cuda {

// VIN_DTYPE_… of csrc/backend.h, which device code does not include.
enum { DTYPE_F32, DTYPE_BF16, DTYPE_F16, DTYPE_I32, DTYPE_U8, DTYPE_F64 };

#if VIN_DEVICE
// Round to nearest even; a NaN keeps its sign and stays quiet.
VIN_DEVICE_FUNCTION unsigned short bf16_of_bits(unsigned bits) {
    const unsigned rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16, nan = (bits >> 16 & 0x8000) | 0x7fc0;
    return (unsigned short)((bits & 0x7fffffff) > 0x7f800000 ? nan : rounded);
}
VIN_DEVICE_FUNCTION unsigned short f16_of_bits(unsigned bits) {
    const unsigned sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    if (size > 0x7f800000) return (unsigned short)(sign | 0x7e00);
    if (size >= 0x477ff000) return (unsigned short)(sign | 0x7c00);  // rounds past 65504
    if (size < 0x33000000) return (unsigned short)sign;              // rounds to 0
    const unsigned exponent = size >> 23,
                   drop = exponent < 113 ? 126 - exponent : 13;  // below 2⁻¹⁴ the steps stop shrinking
    const unsigned mantissa = exponent < 113 ? (size & 0x7fffff) | 0x800000 : size - (112u << 23);
    const unsigned half = 1u << (drop - 1), kept = mantissa >> drop;
    return (unsigned short)(sign | (kept + ((mantissa & (2 * half - 1)) + (kept & 1) > half)));
}
VIN_DEVICE_FUNCTION float f32_of_f16(unsigned short h) {
    const unsigned sign = (unsigned)(h & 0x8000) << 16, size = h & 0x7fff;
    if (size >= 0x7c00) return __uint_as_float(sign | 0x7f800000 | (size & 0x3ff) << 13);
    if (size >= 0x0400) return __uint_as_float(sign | ((size << 13) + (112u << 23)));
    const float small = (float)size * 5.9604644775390625e-8f;  // 2⁻²⁴
    return sign ? -small : small;
}

// fp32 rounded to odd: what was cut off stays visible in the last bit, so that a second rounding to fewer bits gives
// the nearest value.
VIN_DEVICE_FUNCTION unsigned odd_bits(double x) {
    const float nearest = (float)x;
    unsigned bits = __float_as_uint(nearest);
    if (x != x || (double)nearest == x) return bits;
    if (fabs((double)nearest) > fabs(x)) bits--;
    return bits | 1;
}

VIN_DEVICE_FUNCTION double read_number(int dtype, const void* data, i64 i) {
    switch (dtype) {
        case DTYPE_F32: return ((const float*)data)[i];
        case DTYPE_BF16: return __uint_as_float((unsigned)((const unsigned short*)data)[i] << 16);
        case DTYPE_F16: return f32_of_f16(((const unsigned short*)data)[i]);
        case DTYPE_I32: return ((const int*)data)[i];
        case DTYPE_U8: return ((const unsigned char*)data)[i];
        default: return ((const double*)data)[i];
    }
}

// i32 and u8 drop the fraction and saturate; NaN becomes 0.
VIN_DEVICE_FUNCTION void write_number(int dtype, void* data, i64 i, double x) {
    switch (dtype) {
        case DTYPE_F32: ((float*)data)[i] = (float)x; break;
        case DTYPE_BF16: ((unsigned short*)data)[i] = bf16_of_bits(odd_bits(x)); break;
        case DTYPE_F16: ((unsigned short*)data)[i] = f16_of_bits(odd_bits(x)); break;
        case DTYPE_I32:
            ((int*)data)[i] = x != x              ? 0
                              : x >= 2147483647.  ? 2147483647
                              : x <= -2147483648. ? (-2147483647 - 1)
                                                  : (int)x;
            break;
        case DTYPE_U8: ((unsigned char*)data)[i] = (unsigned char)(x >= 255 ? 255 : x > 0 ? (int)x : 0); break;
        default: ((double*)data)[i] = x;
    }
}
#endif

#if VIN_HOST
inline vin_status expect_dtype(const char* op, const char* operand, const vin_tensor& t) {
    return t.dtype >= 0 && t.dtype <= VIN_DTYPE_F64
               ? (vin_status)VIN_OK
               : fail(VIN_INVALID, "%s: expected a known dtype for %s, found %d", op, operand, (int)t.dtype);
}
inline int dtype_size(int dtype) {
    static const signed char sizes[] = {4, 2, 2, 4, 1, 8};
    return sizes[dtype];
}
static_assert((int)DTYPE_F32 == VIN_DTYPE_F32 && (int)DTYPE_BF16 == VIN_DTYPE_BF16 && (int)DTYPE_F16 == VIN_DTYPE_F16 &&
                  (int)DTYPE_I32 == VIN_DTYPE_I32 && (int)DTYPE_U8 == VIN_DTYPE_U8 && (int)DTYPE_F64 == VIN_DTYPE_F64,
              "the dtypes of csrc/backend.h");
#endif

}  // namespace cuda
}  // namespace vin
