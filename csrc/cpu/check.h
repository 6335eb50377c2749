// What a kernel may expect of its operands. The checks themselves are in check.cpp, which is compiled once.
#pragma once
#include "isa.h"

enum vin_layout {
    VIN_STRIDED,         // any strides, 0 included
    VIN_STRIDED_OUTPUT,  // any strides that give each element a place of its own
    VIN_ROWS,            // the last dimension is contiguous
    VIN_DENSE            // row-major without gaps
};

extern "C" {
// The op that the calling thread's next texts are about.
void vin_cpu_begin(const char* op);
// Fills the text of last_error with "<op>: <what format makes>" and returns `status`.
vin_status vin_cpu_refuse(vin_status status, const char* format, ...);
vin_status vin_cpu_no_memory(void);  // for scratch

// shape[i] < 0: any size. dtype < 0: any dtype.
vin_status vin_cpu_expect(const char* operand, const vin_tensor* found, int32_t dtype, int32_t layout, int32_t rank,
                          const int64_t* shape);
// 0 ≤ index < limit for all elements of a dense int32 vector.
vin_status vin_cpu_expect_indices(const char* operand, const vin_tensor* found, int64_t limit);
}

namespace vin::cpu::VIN_CPU_ISA {

// An operand that has to be there.
template <class... Sizes>
static inline vin_status expect_typed(const char* operand, const vin_tensor& found, int32_t dtype, vin_layout layout,
                                      Sizes... sizes) {
    const int64_t shape[] = {(int64_t)sizes...};
    return vin_cpu_expect(operand, &found, dtype, layout, (int32_t)sizeof...(sizes), shape);
}
template <class... Sizes>
static inline vin_status expect(const char* operand, const vin_tensor& found, vin_layout layout, Sizes... sizes) {
    return expect_typed(operand, found, VIN_DTYPE_F32, layout, sizes...);
}
// An optional input or an output that nobody may want.
template <class... Sizes>
static inline vin_status expect_if_present(const char* operand, const vin_tensor& found, vin_layout layout,
                                           Sizes... sizes) {
    return present(found) ? expect(operand, found, layout, sizes...) : (vin_status)VIN_OK;
}
static inline vin_status expect_like(const char* operand, const vin_tensor& found, vin_layout layout,
                                     const vin_tensor& other, int32_t dtype = VIN_DTYPE_F32) {
    return vin_cpu_expect(operand, &found, dtype, layout, other.rank, other.shape);
}
// group i32 [rows] with values below `groups`; absent: all rows are in group 0, which must exist.
static inline vin_status expect_group(const vin_tensor& group, int64_t rows, int64_t groups) {
    if (!present(group) && rows > 0 && groups == 0)
        return vin_cpu_refuse(VIN_INVALID, "expected at least one group, found none");
    if (!present(group)) return VIN_OK;
    if (vin_status status = expect_typed("group", group, VIN_DTYPE_I32, VIN_DENSE, rows)) return status;
    return vin_cpu_expect_indices("group", &group, groups);
}

}  // namespace vin::cpu::VIN_CPU_ISA
