// Checked arithmetic for sizes that come from a file: false when the exact result does not fit.
#pragma once
#include <cstdint>
#include <vector>

namespace vin {

// The exact a + b or a · b in T. Operands may be of any integer type: the builtins compare with the infinitely wide
// result.
template <class T, class A, class B>
[[nodiscard]] inline bool exact_add(T* out, A a, B b) {
    return !__builtin_add_overflow(a, b, out);
}
template <class T, class A, class B>
[[nodiscard]] inline bool exact_mul(T* out, A a, B b) {
    return !__builtin_mul_overflow(a, b, out);
}

// Number of elements of a shape; false for a negative dimension or an overflow. A rank of 0 is a scalar: one element. A
// zero among the dimensions does not excuse the others: [0, 2^63-1, 2^63-1] is false, since code that multiplies in
// another order would overflow.
[[nodiscard]] inline bool element_count(uint64_t* out, const std::vector<int64_t>& shape) {
    uint64_t product = 1;
    bool empty = false;
    for (int64_t size : shape) {
        if (size < 0) return false;
        if (size == 0)
            empty = true;
        else if (!exact_mul(&product, product, size))
            return false;
    }
    *out = empty ? 0 : product;
    return true;
}

}  // namespace vin
