// What device.cuh declares, on the host: indices are fields of the running thread's record, shared memory is the
// block's arena, a barrier switches fibers.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace vin {
namespace emu {

struct Index3 {
    unsigned x, y, z;
};

// The record of the CUDA thread that runs now. A plain pointer: a thread_local with a constructor would be checked at
// each use.
struct Thread {
    Index3 thread_index, block_index, block_size, grid_size;
};
extern __thread Thread* current;

// All threads of the block meet here; file and line tell barriers apart.
void sync_threads(const char* file, int line);

// Start of an array in the block's arena; declares it, so that its bytes are known to be used.
unsigned char* shared_memory(int offset, int bytes);
[[noreturn]] void shared_out_of_bounds(int index, int count);

// Kernels by name. `call` unpacks an array of pointers to arguments, `copy` keeps them, `bytes` is the size of each.
struct KernelEntry {
    const char* name;
    void (*call)(const void* function, void* const* parameters);
    const void* function;
    const size_t* bytes;
    int parameters;
    KernelEntry* next;
};
extern KernelEntry* kernels;

template <int... I>
struct Indices {};
template <int N, int... I>
struct MakeIndices : MakeIndices<N - 1, N - 1, I...> {};
template <int... I>
struct MakeIndices<0, I...> {
    typedef Indices<I...> type;
};

template <class... P>
struct Signature {
    static const size_t* bytes() {
        static const size_t sizes[sizeof...(P) + 1] = {sizeof(P)..., 0};
        return sizes;
    }
    template <int... I>
    static void unpack(void (*function)(P...), void* const* parameters, Indices<I...>) {
        function(*static_cast<P*>(parameters[I])...);
    }
    static void call(const void* function, void* const* parameters) {
        unpack(reinterpret_cast<void (*)(P...)>(reinterpret_cast<uintptr_t>(function)), parameters,
               typename MakeIndices<sizeof...(P)>::type());
    }
};

struct RegisterKernel {
    KernelEntry entry;
    template <class... P>
    RegisterKernel(const char* name, void (*function)(P...))
        : entry{name,
                &Signature<P...>::call,
                reinterpret_cast<const void*>(function),
                Signature<P...>::bytes(),
                (int)sizeof...(P),
                kernels} {
        kernels = &entry;
    }
};

}  // namespace emu
}  // namespace vin

#define threadIdx (::vin::emu::current->thread_index)
#define blockIdx (::vin::emu::current->block_index)
#define blockDim (::vin::emu::current->block_size)
#define gridDim (::vin::emu::current->grid_size)
#define __syncthreads() ::vin::emu::sync_threads(__FILE__, __LINE__)

#define VIN_DEVICE_FUNCTION static inline
// Makes a kernel known by its name, as the module's symbol table does on a GPU.
#define VIN_EMULATED_KERNEL(kernel) static ::vin::emu::RegisterKernel kernel##_registered(#kernel, &kernel);

namespace vin {
namespace cuda {

template <class T>
struct SharedArray {
    T* data;
    int count;
    T& operator[](int i) const {
        if (i < 0 || i >= count) emu::shared_out_of_bounds(i, count);
        return data[i];
    }
};
template <class T>
static inline SharedArray<T> shared_array(int offset, int count) {
    return {reinterpret_cast<T*>(emu::shared_memory(offset, count * (int)sizeof(T))), count};
}

}  // namespace cuda
}  // namespace vin
