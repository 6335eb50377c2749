// Numbers of every dtype, read to and written from fp64.
#pragma once
#include "check.h"

namespace vin::cpu::VIN_CPU_ISA {

static inline int64_t dtype_size(int32_t dtype) {
    static const int8_t sizes[] = {4, 2, 2, 4, 1, 8};
    return sizes[dtype];
}
static inline vin_status expect_dtype(const char* operand, const vin_tensor& t) {
    return t.dtype >= 0 && t.dtype <= VIN_DTYPE_F64
               ? (vin_status)VIN_OK
               : vin_cpu_refuse(VIN_INVALID, "expected a known dtype for %s, found %d", operand, (int)t.dtype);
}

static inline uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}
static inline float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

// Round to nearest even; a NaN keeps its sign and stays quiet.
static inline uint16_t bf16_of_bits(uint32_t bits) {
    const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16, nan = (bits >> 16 & 0x8000) | 0x7fc0;
    return (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? nan : rounded);
}
static inline uint16_t f16_of_bits(uint32_t bits) {
    const uint32_t sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    if (size > 0x7f800000) return (uint16_t)(sign | 0x7e00);
    if (size >= 0x477ff000) return (uint16_t)(sign | 0x7c00);  // rounds past 65504
    if (size < 0x33000000) return (uint16_t)sign;              // rounds to 0
    const uint32_t exponent = size >> 23,
                   drop = exponent < 113 ? 126 - exponent : 13;  // below 2⁻¹⁴ the steps stop shrinking
    const uint32_t mantissa = exponent < 113 ? (size & 0x7fffff) | 0x800000 : size - (112u << 23);
    const uint32_t half = 1u << (drop - 1), kept = mantissa >> drop;
    return (uint16_t)(sign | (kept + ((mantissa & (2 * half - 1)) + (kept & 1) > half)));
}
static inline float f16_to_f32(uint16_t h) {
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16, size = h & 0x7fff;
    if (size >= 0x7c00) return float_of(sign | 0x7f800000 | (size & 0x3ff) << 13);
    if (size >= 0x0400) return float_of(sign | ((size << 13) + (112u << 23)));
    const float small = (float)size * 5.9604644775390625e-8f;  // 2⁻²⁴
    return sign ? -small : small;
}

// fp32 rounded to odd: what was cut off stays visible in the last bit, so that a second rounding to fewer bits gives
// the nearest value.
static inline uint32_t odd_bits(double x) {
    const float nearest = (float)x;
    uint32_t bits = bits_of(nearest);
    if (x != x || (double)nearest == x) return bits;
    if (fabs((double)nearest) > fabs(x)) bits--;
    return bits | 1;
}

template <int DTYPE>
static inline double get(const void* data, int64_t i) {
    if (DTYPE == VIN_DTYPE_F32) return ((const float*)data)[i];
    if (DTYPE == VIN_DTYPE_BF16) return float_of((uint32_t)((const uint16_t*)data)[i] << 16);
    if (DTYPE == VIN_DTYPE_F16) return f16_to_f32(((const uint16_t*)data)[i]);
    if (DTYPE == VIN_DTYPE_I32) return ((const int32_t*)data)[i];
    if (DTYPE == VIN_DTYPE_U8) return ((const uint8_t*)data)[i];
    return ((const double*)data)[i];
}

template <int DTYPE>
static inline void put(void* data, int64_t i, double x) {
    if (DTYPE == VIN_DTYPE_F32)
        ((float*)data)[i] = (float)x;
    else if (DTYPE == VIN_DTYPE_BF16)
        ((uint16_t*)data)[i] = bf16_of_bits(odd_bits(x));
    else if (DTYPE == VIN_DTYPE_F16)
        ((uint16_t*)data)[i] = f16_of_bits(odd_bits(x));
    else if (DTYPE == VIN_DTYPE_I32)
        ((int32_t*)data)[i] = x != x              ? 0
                              : x >= 2147483647.  ? 2147483647
                              : x <= -2147483648. ? (-2147483647 - 1)
                                                  : (int32_t)x;
    else if (DTYPE == VIN_DTYPE_U8)
        ((uint8_t*)data)[i] = (uint8_t)(x >= 255 ? 255 : x > 0 ? x : 0);
    else
        ((double*)data)[i] = x;
}

}  // namespace vin::cpu::VIN_CPU_ISA
