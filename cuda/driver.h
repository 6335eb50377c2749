// The CUDA driver API as one table of functions, the plug-in's only way to a GPU. NVIDIA's driver fills it
// (driver.cpp), or the emulator (emu/driver.cpp). Types have the sizes of cuda.h, which is not needed: handles are
// opaque pointers, results are ints, 0 is success.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "../csrc/backend.h"

namespace vin {
namespace cuda {

typedef int CudaResult;
typedef int CudaDevice;
typedef uint64_t CudaMemory;  // CUdeviceptr
typedef struct CUctx_st* CudaContext;
typedef struct CUmod_st* CudaModule;
typedef struct CUfunc_st* CudaFunction;
typedef struct CUstream_st* CudaStream;
typedef struct CUevent_st* CudaEvent;

enum : CudaResult {
    CUDA_SUCCESS = 0,
    CUDA_ERROR_INVALID_VALUE = 1,
    CUDA_ERROR_OUT_OF_MEMORY = 2,
    CUDA_ERROR_STUB_LIBRARY = 34,
    CUDA_ERROR_NO_DEVICE = 100,
    CUDA_ERROR_INVALID_DEVICE = 101,
    CUDA_ERROR_NO_BINARY_FOR_GPU = 209,
    CUDA_ERROR_UNSUPPORTED_PTX_VERSION = 222,
    CUDA_ERROR_NOT_FOUND = 500,
    CUDA_ERROR_NOT_READY = 600,
    CUDA_ERROR_LAUNCH_FAILED = 719,
    CUDA_ERROR_SYSTEM_DRIVER_MISMATCH = 803
};
enum : unsigned { CUDA_STREAM_NON_BLOCKING = 1, CUDA_EVENT_BLOCKING_SYNC = 1, CUDA_EVENT_DISABLE_TIMING = 2 };
enum : int { CUDA_FUNCTION_MAX_DYNAMIC_SHARED = 8 };
enum : int { CUDA_DEVICE_MULTIPROCESSORS = 16, CUDA_DEVICE_CAPABILITY_MAJOR = 75, CUDA_DEVICE_CAPABILITY_MINOR = 76 };

struct CudaUuid {
    unsigned char bytes[16];
};

// field, symbol of libcuda, parameters
#define VIN_DRIVER_TABLE(CALL) \
    CALL(init, "cuInit", (unsigned flags)) \
    CALL(driver_version, "cuDriverGetVersion", (int* version)) \
    CALL(device_count, "cuDeviceGetCount", (int* count)) \
    CALL(device_get, "cuDeviceGet", (CudaDevice * device, int ordinal)) \
    CALL(device_name, "cuDeviceGetName", (char* name, int length, CudaDevice device)) \
    CALL(device_attribute, "cuDeviceGetAttribute", (int* value, int attribute, CudaDevice device)) \
    CALL(device_uuid, "cuDeviceGetUuid_v2", (CudaUuid * uuid, CudaDevice device)) \
    CALL(context_retain, "cuDevicePrimaryCtxRetain", (CudaContext * context, CudaDevice device)) \
    CALL(context_release, "cuDevicePrimaryCtxRelease_v2", (CudaDevice device)) \
    CALL(context_set, "cuCtxSetCurrent", (CudaContext context)) \
    CALL(memory_info, "cuMemGetInfo_v2", (size_t* free, size_t* total)) \
    CALL(module_load, "cuModuleLoadData", (CudaModule * module, const void* image)) \
    CALL(module_function, "cuModuleGetFunction", (CudaFunction * function, CudaModule module, const char* name)) \
    CALL(function_set_attribute, "cuFuncSetAttribute", (CudaFunction function, int attribute, int value)) \
    CALL(memory_alloc, "cuMemAlloc_v2", (CudaMemory * memory, size_t bytes)) \
    CALL(memory_free, "cuMemFree_v2", (CudaMemory memory)) \
    CALL(host_alloc, "cuMemHostAlloc", (void** memory, size_t bytes, unsigned flags)) \
    CALL(host_free, "cuMemFreeHost", (void* memory)) \
    CALL(copy_to_device, "cuMemcpyHtoDAsync_v2", (CudaMemory to, const void* from, size_t bytes, CudaStream stream)) \
    CALL(copy_to_host, "cuMemcpyDtoHAsync_v2", (void* to, CudaMemory from, size_t bytes, CudaStream stream)) \
    CALL(fill_bytes, "cuMemsetD8Async", (CudaMemory to, unsigned char value, size_t bytes, CudaStream stream)) \
    CALL(stream_create, "cuStreamCreate", (CudaStream * stream, unsigned flags)) \
    CALL(stream_destroy, "cuStreamDestroy_v2", (CudaStream stream)) \
    CALL(stream_synchronize, "cuStreamSynchronize", (CudaStream stream)) \
    CALL(stream_wait_event, "cuStreamWaitEvent", (CudaStream stream, CudaEvent event, unsigned flags)) \
    CALL(event_create, "cuEventCreate", (CudaEvent * event, unsigned flags)) \
    CALL(event_record, "cuEventRecord", (CudaEvent event, CudaStream stream)) \
    CALL(event_query, "cuEventQuery", (CudaEvent event)) \
    CALL(event_synchronize, "cuEventSynchronize", (CudaEvent event)) \
    CALL(event_destroy, "cuEventDestroy_v2", (CudaEvent event)) \
    CALL(launch, "cuLaunchKernel", \
         (CudaFunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, \
          unsigned block_y, unsigned block_z, unsigned shared_bytes, CudaStream stream, void** parameters, \
          void** extra)) \
    CALL(error_text, "cuGetErrorString", (CudaResult result, const char** text))

struct Driver {
#define VIN_DRIVER_FIELD(field, symbol, parameters) CudaResult(*field) parameters;
    VIN_DRIVER_TABLE(VIN_DRIVER_FIELD)
#undef VIN_DRIVER_FIELD
    // The image that holds a kernel: a fatbin, or what the emulator takes for one. NULL: none does. Of NULL: any image.
    const void* (*image_of)(const char* kernel);
    const char *name, *build;  // vin_backend's
};

// Why there is no driver, or none that starts: VIN_OK: there is one.
struct Refusal {
    vin_status status;
    char text[400];
};

// The driver of this plug-in, found at the first call but not started: what it has is its table and its version. NULL:
// *refusal says why.
const Driver* open_driver(const Refusal** refusal);
// The same, started at the first call, which may take long.
const Driver* start_driver(const Refusal** refusal);

}  // namespace cuda
}  // namespace vin
