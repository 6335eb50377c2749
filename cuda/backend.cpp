// vin_backend over the table of driver.h: devices, streams, memory, launches, and the list of ops. An op that the CUDA
// backend lacks answers VIN_NOT_SUPPORTED.
#include "../csrc/backend.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <map>
#include <mutex>
#include <string>

#include "driver.h"
#include "launch.h"

using namespace vin::cuda;

namespace {

// Per device: its primary context, the module, and the functions found so far.
struct Device {
    CudaContext context = nullptr;
    CudaModule module = nullptr;
    std::map<std::string, CudaFunction> functions;
};

std::mutex device_mutex;
std::map<int32_t, Device> devices;
thread_local char error_text[512];

}  // namespace

struct vin_stream {
    const Driver* driver;
    Device* device;
    CudaStream stream;
    CudaMemory scratch = 0;  // what ops share, grown on demand
    size_t scratch_bytes = 0;
};

namespace vin {
namespace cuda {

vin_status fail(vin_status status, const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error_text, sizeof error_text, format, arguments);
    va_end(arguments);
    return status;
}

static vin_status check(const Driver* driver, CudaResult result, const char* what) {
    if (result == CUDA_SUCCESS) return VIN_OK;
    const char* text = nullptr;
    if (driver->error_text(result, &text) != CUDA_SUCCESS || !text) text = "unknown error";
    return fail(result == CUDA_ERROR_OUT_OF_MEMORY ? VIN_OUT_OF_MEMORY : VIN_DEVICE_ERROR,
                "%s failed with CUDA error %d: %s", what, result, text);
}
#define VIN_TRY(call) \
    do { \
        const vin_status status_ = (call); \
        if (status_ != VIN_OK) return status_; \
    } while (0)

static vin_status driver_of(const Driver** driver) {
    const char* why = nullptr;
    *driver = open_driver(&why);
    return *driver ? VIN_OK : fail(VIN_DEVICE_ERROR, "%s", why);
}

vin_status launch_by_name(vin_stream* stream, const char* name, Grid grid, Grid block, unsigned shared_bytes,
                          void** parameters) {
    const Driver* driver = stream->driver;
    VIN_TRY(check(driver, driver->context_set(stream->device->context), name));
    CudaFunction function;
    {
        std::lock_guard<std::mutex> lock(device_mutex);
        CudaFunction& known = stream->device->functions[name];
        if (!known) VIN_TRY(check(driver, driver->module_function(&known, stream->device->module, name), name));
        function = known;
    }
    // Up to 48 KiB every kernel may use; more has to be asked for.
    if (shared_bytes > 48 * 1024)
        VIN_TRY(check(driver,
                      driver->function_set_attribute(function, CUDA_FUNCTION_MAX_DYNAMIC_SHARED, (int)shared_bytes),
                      name));
    return check(driver,
                 driver->launch(function, grid.x, grid.y, grid.z, block.x, block.y, block.z, shared_bytes,
                                stream->stream, parameters, nullptr),
                 name);
}

vin_status scratch(vin_stream* stream, size_t bytes, void** data) {
    const Driver* driver = stream->driver;
    if (bytes > stream->scratch_bytes) {
        VIN_TRY(check(driver, driver->context_set(stream->device->context), "entering the context"));
        // Freeing waits for what uses the memory.
        if (stream->scratch) VIN_TRY(check(driver, driver->memory_free(stream->scratch), "freeing scratch memory"));
        stream->scratch = 0;
        stream->scratch_bytes = 0;
        VIN_TRY(check(driver, driver->memory_alloc(&stream->scratch, bytes), "allocating scratch memory"));
        stream->scratch_bytes = bytes;
    }
    *data = reinterpret_cast<void*>(stream->scratch);
    return VIN_OK;
}

}  // namespace cuda
}  // namespace vin

namespace {

// Makes the stream's context this thread's: memory is taken and given back by any thread.
vin_status enter(vin_stream* stream) {
    return check(stream->driver, stream->driver->context_set(stream->device->context), "entering the context");
}

vin_status device_count(int32_t* count) {
    *count = 0;
    const Driver* driver;
    VIN_TRY(driver_of(&driver));
    int found = 0;
    VIN_TRY(check(driver, driver->device_count(&found), "counting devices"));
    *count = found;
    return VIN_OK;
}

// Opens a device once per process. The context is the primary one, shared with whatever else uses CUDA here.
vin_status open_device(const Driver* driver, int32_t ordinal, Device** device) {
    std::lock_guard<std::mutex> lock(device_mutex);
    Device& found = devices[ordinal];
    if (!found.context) {
        CudaDevice id;
        VIN_TRY(check(driver, driver->device_get(&id, ordinal), "finding the device"));
        VIN_TRY(check(driver, driver->context_retain(&found.context, id), "opening the device"));
    }
    VIN_TRY(check(driver, driver->context_set(found.context), "entering the context"));
    if (!found.module) VIN_TRY(check(driver, driver->module_load(&found.module, driver->image), "loading the kernels"));
    *device = &found;
    return VIN_OK;
}

vin_status device_info(int32_t ordinal, vin_device_info* info) {
    const Driver* driver;
    VIN_TRY(driver_of(&driver));
    Device* device;
    VIN_TRY(open_device(driver, ordinal, &device));
    CudaDevice id;
    VIN_TRY(check(driver, driver->device_get(&id, ordinal), "finding the device"));
    memset(info, 0, sizeof *info);
    VIN_TRY(check(driver, driver->device_name(info->name, (int)sizeof info->name, id), "reading the device's name"));
    size_t free_bytes = 0, total_bytes = 0;
    VIN_TRY(check(driver, driver->memory_info(&free_bytes, &total_bytes), "reading the device's memory"));
    info->free_bytes = free_bytes;
    info->total_bytes = total_bytes;
    return VIN_OK;
}

vin_status stream_open(int32_t ordinal, void*, vin_stream** stream) {
    const Driver* driver;
    VIN_TRY(driver_of(&driver));
    Device* device;
    VIN_TRY(open_device(driver, ordinal, &device));
    CudaStream opened;
    VIN_TRY(check(driver, driver->stream_create(&opened, CUDA_STREAM_NON_BLOCKING), "opening a stream"));
    *stream = new vin_stream{driver, device, opened};
    return VIN_OK;
}

vin_status stream_close(vin_stream* stream) {
    VIN_TRY(enter(stream));
    if (stream->scratch)
        VIN_TRY(check(stream->driver, stream->driver->memory_free(stream->scratch), "freeing scratch memory"));
    VIN_TRY(check(stream->driver, stream->driver->stream_destroy(stream->stream), "closing a stream"));
    delete stream;
    return VIN_OK;
}

vin_status stream_wait(vin_stream* stream) {
    VIN_TRY(enter(stream));
    return check(stream->driver, stream->driver->stream_synchronize(stream->stream), "waiting for the device");
}

vin_status stream_join(vin_stream* later, vin_stream* earlier) {
    VIN_TRY(enter(later));
    const Driver* driver = later->driver;
    CudaEvent event;
    VIN_TRY(check(driver, driver->event_create(&event, CUDA_EVENT_DISABLE_TIMING), "making an event"));
    vin_status status = check(driver, driver->event_record(event, earlier->stream), "recording an event");
    if (status == VIN_OK) status = check(driver, driver->stream_wait_event(later->stream, event, 0), "joining streams");
    // A destroyed event lives on until what waits for it has run.
    const vin_status destroyed = check(driver, driver->event_destroy(event), "freeing an event");
    return status != VIN_OK ? status : destroyed;
}

vin_status alloc(vin_stream* stream, size_t bytes, void** data) {
    *data = nullptr;
    VIN_TRY(enter(stream));
    CudaMemory memory = 0;
    VIN_TRY(
        check(stream->driver, stream->driver->memory_alloc(&memory, bytes ? bytes : 1), "allocating device memory"));
    *data = reinterpret_cast<void*>(memory);
    return VIN_OK;
}

vin_status free_memory(vin_stream* stream, void* data) {
    if (!data) return VIN_OK;
    VIN_TRY(enter(stream));
    return check(stream->driver, stream->driver->memory_free(reinterpret_cast<CudaMemory>(data)),
                 "freeing device memory");
}

// Copies wait: the host's memory belongs to the caller again when they return.
vin_status upload(vin_stream* stream, void* device, const void* host, size_t bytes) {
    if (bytes == 0) return VIN_OK;
    VIN_TRY(enter(stream));
    VIN_TRY(check(stream->driver,
                  stream->driver->copy_to_device(reinterpret_cast<CudaMemory>(device), host, bytes, stream->stream),
                  "copying to the device"));
    return stream_wait(stream);
}

vin_status download(vin_stream* stream, void* host, const void* device, size_t bytes) {
    if (bytes == 0) return VIN_OK;
    VIN_TRY(enter(stream));
    VIN_TRY(check(stream->driver,
                  stream->driver->copy_to_host(host, reinterpret_cast<CudaMemory>(device), bytes, stream->stream),
                  "copying to the host"));
    return stream_wait(stream);
}

const char* last_error() { return error_text; }

#define VIN_OP(name, fields) \
    vin_status lacks_##name(vin_stream*, const vin_##name##_args*) { \
        return fail(VIN_NOT_SUPPORTED, "The CUDA backend has no " #name ": use device 'cpu' for it"); \
    }
#include "../csrc/ops.def"
#undef VIN_OP

}  // namespace

extern "C" __attribute__((visibility("default"))) vin_status vin_backend_entry(uint32_t host_abi, const vin_host*,
                                                                               vin_backend* backend) {
    // The host compares these two with its own; its struct may be smaller than ours until they are found equal.
    backend->abi = VIN_ABI;
    backend->size = sizeof *backend;
    if (host_abi != VIN_ABI)
        return fail(VIN_INVALID, "This CUDA backend was built for ABI %d, the host has %u: install both of one version",
                    VIN_ABI, host_abi);
    memset(backend, 0, sizeof *backend);
    backend->abi = VIN_ABI;
    backend->size = sizeof *backend;
    backend->last_error = last_error;
    const Driver* driver;
    VIN_TRY(driver_of(&driver));
    backend->name = driver->name;
    backend->build = driver->build;
    backend->asynchronous = 1;
    backend->device_count = device_count;
    backend->device_info = device_info;
    backend->stream_open = stream_open;
    backend->stream_close = stream_close;
    backend->stream_wait = stream_wait;
    backend->stream_join = stream_join;
    backend->alloc = alloc;
    backend->free = free_memory;
    backend->upload = upload;
    backend->download = download;
#define VIN_OP(name, fields) backend->name = vin_cuda_##name ? vin_cuda_##name : lacks_##name;
#include "../csrc/ops.def"
#undef VIN_OP
    return VIN_OK;
}
