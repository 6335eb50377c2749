// bfloat16 and IEEE half as bit patterns. Narrowing rounds to nearest, ties to even; NaN stays NaN (quiet), a finite
// value beyond the range becomes infinite.
#pragma once
#include <cstdint>
#include <cstring>

namespace vin {

inline uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}

inline float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

inline float bfloat16_to_float(uint16_t half) { return float_of(static_cast<uint32_t>(half) << 16); }

inline uint16_t float_to_bfloat16(float value) {
    uint32_t bits = bits_of(value);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<uint16_t>(bits >> 16 | 0x40u);
    return static_cast<uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

inline float float16_to_float(uint16_t half) {
    uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16, magnitude = half & 0x7FFFu;
    if (magnitude >= 0x7C00u) return float_of(sign | 0x7F800000u | (magnitude & 0x3FFu) << 13);
    if (magnitude >= 0x0400u) return float_of(sign | ((magnitude << 13) + (112u << 23)));
    return float_of(sign | bits_of(static_cast<float>(magnitude) * 0x1p-24f));  // subnormal: a multiple of 2^-24
}

inline uint16_t float_to_float16(float value) {
    uint32_t bits = bits_of(value), magnitude = bits & 0x7FFFFFFFu;
    uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
    if (magnitude > 0x7F800000u) return sign | 0x7E00u;
    if (magnitude >= 0x477FF000u) return sign | 0x7C00u;  // 65520 and above round to infinity
    if (magnitude <
        0x38800000u) {  // below 2^-14: a multiple of 2^-24, rounded by adding 0.5 whose last bit is worth 2^-24
        float rounded = float_of(magnitude) + 0.5f;
        return static_cast<uint16_t>(sign | (bits_of(rounded) - bits_of(0.5f)));
    }
    return static_cast<uint16_t>(sign | ((magnitude - (112u << 23) + 0xFFFu + (magnitude >> 13 & 1u)) >> 13));
}

}  // namespace vin
