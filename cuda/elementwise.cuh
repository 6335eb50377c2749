// The launchers of y = f(x) and y = f(a, b): operands of one shape, fp32, strided.
#pragma once
#include "strided.cuh"

namespace vin {
namespace cuda {

#if VIN_HOST
struct Operand {
    const char* name;
    const vin_tensor& tensor;
};

inline vin_status launch_elementwise(const char* op, vin_stream* stream, Kernel<float*, const float*, Walk<2>> kernel,
                                     const Operand& y, const Operand& x) {
    VIN_CHECK(expect_like(op, y.name, y.tensor, VIN_DTYPE_F32, STRIDED_OUTPUT, x.tensor));
    VIN_CHECK(expect_like(op, x.name, x.tensor, VIN_DTYPE_F32, STRIDED, y.tensor));
    const Walk<2> w = walk<2>({&y.tensor, &x.tensor});
    return launch_over(w.elements, stream, kernel, f32(y.tensor), f32(x.tensor), w);
}
inline vin_status launch_elementwise(const char* op, vin_stream* stream,
                                     Kernel<float*, const float*, const float*, Walk<3>> kernel, const Operand& y,
                                     const Operand& a, const Operand& b) {
    VIN_CHECK(expect_like(op, y.name, y.tensor, VIN_DTYPE_F32, STRIDED_OUTPUT, a.tensor));
    VIN_CHECK(expect_like(op, a.name, a.tensor, VIN_DTYPE_F32, STRIDED, y.tensor));
    VIN_CHECK(expect_like(op, b.name, b.tensor, VIN_DTYPE_F32, STRIDED, y.tensor));
    const Walk<3> w = walk<3>({&y.tensor, &a.tensor, &b.tensor});
    return launch_over(w.elements, stream, kernel, f32(y.tensor), f32(a.tensor), f32(b.tensor), w);
}
#endif

}  // namespace cuda
}  // namespace vin
