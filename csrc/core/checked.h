// Checked arithmetic for all size code: shapes, spans, byte counts, padding. `exact_add`, `exact_mul` and `exact_sub`
// return false when the exact result does not fit; the `checked_` forms throw, naming what was computed.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "error.h"

namespace vin {

// The exact a + b, a - b, a * b in T, or false. Operands may be of any integer type: the builtins compare with the
// infinitely wide result.
template <class T, class A, class B>
[[nodiscard]] inline bool exact_add(T* out, A a, B b) {
    return !__builtin_add_overflow(a, b, out);
}
template <class T, class A, class B>
[[nodiscard]] inline bool exact_sub(T* out, A a, B b) {
    return !__builtin_sub_overflow(a, b, out);
}
template <class T, class A, class B>
[[nodiscard]] inline bool exact_mul(T* out, A a, B b) {
    return !__builtin_mul_overflow(a, b, out);
}

// Next multiple of `alignment` (a power of two).
template <class T>
[[nodiscard]] inline bool align_up(T* out, T value, T alignment) {
    static_assert(std::is_unsigned<T>::value, "sizes are unsigned");
    T padded;
    if (!exact_add(&padded, value, alignment - 1)) return false;
    *out = static_cast<T>(padded & ~static_cast<T>(alignment - 1));
    return true;
}

// Number of elements of a shape; false for a negative dimension or an overflow. A rank of 0 is a scalar: one element. A
// zero among the dimensions does not excuse the others: [0, 2^63-1, 2^63-1] is false, since code that multiplies in
// another order would overflow.
[[nodiscard]] inline bool element_count(uint64_t* out, const int64_t* shape, size_t rank) {
    uint64_t product = 1;
    bool empty = false;
    for (size_t i = 0; i < rank; i++) {
        if (shape[i] < 0) return false;
        if (shape[i] == 0)
            empty = true;
        else if (!exact_mul(&product, product, shape[i]))
            return false;
    }
    *out = empty ? 0 : product;
    return true;
}
[[nodiscard]] inline bool element_count(uint64_t* out, const std::vector<int64_t>& shape) {
    return element_count(out, shape.data(), shape.size());
}

[[noreturn]] inline void throw_overflow(const char* what) {
    throw Error("VIN_INVALID", std::string("Expected ") + what + " that fits 64 bits but the exact value does not");
}
inline size_t checked_add(size_t a, size_t b, const char* what) {
    size_t r;
    if (!exact_add(&r, a, b)) throw_overflow(what);
    return r;
}
inline size_t checked_mul(size_t a, size_t b, const char* what) {
    size_t r;
    if (!exact_mul(&r, a, b)) throw_overflow(what);
    return r;
}
inline size_t checked_align_up(size_t value, size_t alignment, const char* what) {
    size_t r;
    if (!align_up(&r, value, alignment)) throw_overflow(what);
    return r;
}

}  // namespace vin
