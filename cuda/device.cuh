// The only file that knows which compiler reads a .cu file:
//   nvcc                 kernels for the GPU; launchers are hidden (VIN_HOST 0)
//   g++                  launchers for the plug-in; kernels are declared, not compiled (VIN_DEVICE 0)
//   g++ -DVIN_EMULATED   both: kernels run on the host, on the fibers of emu/
// A kernel uses only what this file declares. Its parameters are passed by value: numbers, pointers and plain structs
// of them.
#pragma once
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define VIN_DEVICE 1
#define VIN_HOST 0
#elif defined(VIN_EMULATED)
#define VIN_DEVICE 1
#define VIN_HOST 1
#else
#define VIN_DEVICE 0
#define VIN_HOST 1
#endif

// A member function of a struct that kernels are given.
#if VIN_DEVICE && !VIN_HOST
#define VIN_MEMBER __device__ __forceinline__
#else
#define VIN_MEMBER inline
#endif

// A function of numbers that are known when it is compiled, for kernels and launchers alike.
#if VIN_DEVICE && !VIN_HOST
#define VIN_CONSTEXPR __host__ __device__ constexpr
#else
#define VIN_CONSTEXPR constexpr
#endif

// In front of a loop of few rounds over an array that has to stay in registers.
#if VIN_DEVICE && !VIN_HOST
#define VIN_UNROLL _Pragma("unroll")
#else
#define VIN_UNROLL
#endif

// Declares or defines a kernel; `extern "C"` keeps the name that the driver looks up.
#if VIN_HOST
#define VIN_KERNEL extern "C" void
#else
#define VIN_KERNEL extern "C" __global__ void
#endif

#if VIN_HOST
#include "launch.h"
#endif

#if VIN_DEVICE && VIN_HOST
#include <math.h>

#include "emu/device.h"

// CUDA's names for what a compiler must not contract, and for the bits of a number.
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __ddiv_rn(double a, double b) { return a / b; }
static inline double __dsqrt_rn(double a) { return sqrt(a); }
static inline unsigned __float_as_uint(float x) {
    unsigned bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    return bits;
}
static inline float __uint_as_float(unsigned bits) {
    float x;
    __builtin_memcpy(&x, &bits, sizeof x);
    return x;
}

#elif VIN_DEVICE

#define VIN_DEVICE_FUNCTION static __device__ __forceinline__
#define VIN_EMULATED_KERNEL(kernel)

namespace vin {
namespace cuda {

// `count` elements of the block's dynamic shared memory from byte `offset` on. Offsets are laid out with
// shared_bytes<T>(count).
template <class T>
struct SharedArray {
    T* data;
    __device__ __forceinline__ T& operator[](int i) const { return data[i]; }
};
template <class T>
VIN_DEVICE_FUNCTION SharedArray<T> shared_array(int offset, int count) {
    extern __shared__ __align__(128) unsigned char vin_shared_memory[];
    return {reinterpret_cast<T*>(vin_shared_memory + offset)};
}

}  // namespace cuda
}  // namespace vin
#endif

namespace vin {
namespace cuda {

typedef long long i64;

struct alignas(16) Float4 {
    float v[4];
};

// Bytes that an array takes in shared memory: a multiple of 16, and under the emulator a red zone behind it.
#if defined(VIN_EMULATED)
constexpr int shared_red_zone = 64;
#else
constexpr int shared_red_zone = 0;
#endif
template <class T>
VIN_CONSTEXPR int shared_bytes(int count) {
    return (count * (int)sizeof(T) + 15) / 16 * 16 + shared_red_zone;
}

}  // namespace cuda
}  // namespace vin
