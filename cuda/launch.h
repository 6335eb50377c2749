// What launchers are written in: the stream, the text of the last error, and launch().
#pragma once
#include <initializer_list>
#include <tuple>
#include <type_traits>
#include <utility>

#include "../csrc/backend.h"
#include "driver.h"

namespace vin {
namespace cuda {

struct Grid {
    unsigned x = 1, y = 1, z = 1;
};

// A kernel by name, with the types of its parameters: VIN_KERNEL_OF(fusion_blend_kernel). Nothing is called through it
// on the host.
template <class... P>
struct Kernel {
    const char* name;
};
template <class... P>
Kernel<P...> kernel_of(void (*)(P...), const char* name);
#define VIN_KERNEL_OF(kernel) \
    (decltype(::vin::cuda::kernel_of(&kernel, ""))) { #kernel }

// Sets the text of vin_backend.last_error and returns `status`.
__attribute__((format(printf, 2, 3))) vin_status fail(vin_status status, const char* format, ...);

vin_status launch_by_name(vin_stream* stream, const char* name, Grid grid, Grid block, unsigned shared_bytes,
                          void** parameters);

// Queues kernel(arguments…) on the stream. Arguments are converted to the kernel's own parameter types and copied
// before this returns, their padding as zeros: an int beside what the stack last held may look like a pointer.
template <class... P>
vin_status launch(Grid grid, Grid block, unsigned shared_bytes, vin_stream* stream, Kernel<P...> kernel,
                  std::common_type_t<P>... arguments) {
    static_assert((std::is_trivially_copyable<P>::value && ...),
                  "a kernel's parameters are copied to the device as bytes");
    std::tuple<P...> copies(arguments...);
    return std::apply(
        [&](P&... each) {
            (__builtin_clear_padding(&each), ...);
            void* parameters[sizeof...(P) + 1] = {&each..., nullptr};
            return launch_by_name(stream, kernel.name, grid, block, shared_bytes, parameters);
        },
        copies);
}

// `bytes` of device memory for this op alone, from shapes, strides, scalars and which operands are absent. They hold
// whatever was there before. The launcher also runs to be asked how much it needs: then operands lie nowhere, and
// launch() does nothing.
vin_status scratch(vin_stream* stream, size_t bytes, void** data);

// A grid of blocks of `per_block` items for a kernel that reaches the items past its grid by a stride of the whole
// grid.
inline Grid grid_over(int64_t items, int64_t per_block) {
    constexpr int64_t most_blocks = 65535;  // enough to fill any GPU many times
    const int64_t blocks = (items + per_block - 1) / per_block;
    return {(unsigned)(blocks < most_blocks ? blocks : most_blocks)};
}

// ---- checks of operands, in the words of csrc/ops.def ----

enum Layout {
    STRIDED,         // any strides, 0 included
    STRIDED_OUTPUT,  // any strides that give each element a place of its own
    ROWS,            // the last dimension is contiguous
    DENSE            // row-major without gaps
};

inline int64_t count(const vin_tensor& t) {
    int64_t n = 1;
    for (int i = 0; i < t.rank; i++) n *= t.shape[i];
    return n;
}
inline bool present(const vin_tensor& t) { return t.data != nullptr; }
inline float* f32(const vin_tensor& t) { return static_cast<float*>(t.data); }
inline double* f64(const vin_tensor& t) { return static_cast<double*>(t.data); }
inline int32_t* i32(const vin_tensor& t) { return static_cast<int32_t*>(t.data); }
inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// VIN_OK if `t` is as stated, else fails naming op and operand. shape[i] < 0: any size. dtype < 0: any dtype.
vin_status expect_tensor(const char* op, const char* operand, const vin_tensor& t, int32_t dtype, Layout layout,
                         int32_t rank, const int64_t* shape);

// An operand that has to be there.
template <class... Sizes>
vin_status expect(const char* op, const char* operand, const vin_tensor& t, int32_t dtype, Layout layout,
                  Sizes... sizes) {
    const int64_t shape[] = {(int64_t)sizes...};
    return expect_tensor(op, operand, t, dtype, layout, (int32_t)sizeof...(sizes), shape);
}
// An optional input or an output that nobody may want.
template <class... Sizes>
vin_status expect_if_present(const char* op, const char* operand, const vin_tensor& t, int32_t dtype, Layout layout,
                             Sizes... sizes) {
    return present(t) ? expect(op, operand, t, dtype, layout, sizes...) : (vin_status)VIN_OK;
}
inline vin_status expect_like(const char* op, const char* operand, const vin_tensor& t, int32_t dtype, Layout layout,
                              const vin_tensor& other) {
    return expect_tensor(op, operand, t, dtype, layout, other.rank, other.shape);
}
// group i32 [rows]; absent: all rows are in group 0, which must exist. What the groups are only the device knows: a row
// whose group does not exist becomes NaN.
vin_status expect_group(const char* op, const vin_tensor& group, int64_t rows, int64_t groups);

#define VIN_CHECK(call) \
    do { \
        if (const vin_status status_ = (call)) return status_; \
    } while (0)

}  // namespace cuda
}  // namespace vin

// The launchers of the ops: vin_cuda_<op> is defined in <op>.cu. Weak, so that the backend's table has the ops whose
// file exists.
extern "C" {
#define VIN_OP(name, fields) \
    __attribute__((weak)) vin_status vin_cuda_##name(vin_stream* stream, const vin_##name##_args* args);
#include "../csrc/ops.def"
#undef VIN_OP
}
