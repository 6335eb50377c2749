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
// before this returns.
template <class... P>
vin_status launch(Grid grid, Grid block, unsigned shared_bytes, vin_stream* stream, Kernel<P...> kernel,
                  std::common_type_t<P>... arguments) {
    static_assert((std::is_trivially_copyable<P>::value && ...),
                  "a kernel's parameters are copied to the device as bytes");
    std::tuple<P...> copies(arguments...);
    return std::apply(
        [&](P&... each) {
            void* parameters[sizeof...(P) + 1] = {&each..., nullptr};
            return launch_by_name(stream, kernel.name, grid, block, shared_bytes, parameters);
        },
        copies);
}

// ---- checks of operands, in the words of csrc/ops.def ----

inline int64_t count(const vin_tensor& t) {
    int64_t n = 1;
    for (int i = 0; i < t.rank; i++) n *= t.shape[i];
    return n;
}

// VIN_OK if `t` is fp32 with this shape, else fails naming op and operand.
vin_status expect_f32(const char* op, const char* operand, const vin_tensor& t, std::initializer_list<int64_t> shape);

}  // namespace cuda
}  // namespace vin

// ops that the CUDA backend has
extern "C" {
vin_status vin_cuda_fusion_blend(vin_stream* stream, const vin_fusion_blend_args* args);
}
