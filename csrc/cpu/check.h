// What a kernel may expect of its operands. The checks themselves are in check.cpp, which is compiled once.
#pragma once
#include "isa.h"

enum vin_layout {
    VIN_STRIDED,         // any strides, 0 included
    VIN_STRIDED_OUTPUT,  // any strides that give each element a place of its own
    VIN_ROWS,            // the last dimension is contiguous
    VIN_DENSE            // row-major without gaps
};

// shape[i] < 0: any size. dtype < 0: any dtype.
extern "C" vin_status vin_cpu_expect(const char* op, const char* operand, const vin_tensor* found, int32_t dtype,
                                     int32_t layout, int32_t rank, const int64_t* shape);
// 0 ≤ index < limit for all elements of a dense int32 vector.
extern "C" vin_status vin_cpu_expect_indices(const char* op, const char* operand, const vin_tensor* found,
                                             int64_t limit);

namespace vin {
namespace cpu {
namespace VIN_CPU_ISA {

// An operand that has to be there.
template <class... Sizes>
static inline vin_status expect(const char* op, const char* operand, const vin_tensor& found, int32_t dtype,
                                vin_layout layout, Sizes... sizes) {
    const int64_t shape[] = {(int64_t)sizes...};
    return vin_cpu_expect(op, operand, &found, dtype, layout, (int32_t)sizeof...(sizes), shape);
}
// An optional input or an output that nobody may want.
template <class... Sizes>
static inline vin_status expect_if_present(const char* op, const char* operand, const vin_tensor& found, int32_t dtype,
                                           vin_layout layout, Sizes... sizes) {
    return present(found) ? expect(op, operand, found, dtype, layout, sizes...) : (vin_status)VIN_OK;
}
static inline vin_status expect_like(const char* op, const char* operand, const vin_tensor& found, int32_t dtype,
                                     vin_layout layout, const vin_tensor& other) {
    return vin_cpu_expect(op, operand, &found, dtype, layout, other.rank, other.shape);
}
// group i32 [rows] with values below `groups`; absent: all rows are in group 0, which must exist.
static inline vin_status expect_group(const char* op, const vin_tensor& group, int64_t rows, int64_t groups) {
    if (!present(group))
        return rows == 0 || groups > 0 ? (vin_status)VIN_OK
                                       : vin_cpu_fail(VIN_INVALID, "%s: expected at least one group, found none", op);
    if (vin_status status = expect(op, "group", group, VIN_DTYPE_I32, VIN_DENSE, rows)) return status;
    return vin_cpu_expect_indices(op, "group", &group, groups);
}

}  // namespace VIN_CPU_ISA
}  // namespace cpu
}  // namespace vin
