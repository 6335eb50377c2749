// vin_backend over the table of driver.h: devices, streams, memory, launches, and the list of ops. An op that the CUDA
// backend lacks answers VIN_NOT_SUPPORTED.
#include "../csrc/backend.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "driver.h"
#include "launch.h"

using namespace vin::cuda;

namespace {

// A device while somebody has a stream on it: its primary context, and the modules and functions that were used.
struct Device {
    CudaDevice id = 0;
    int users = 0;
    CudaContext context = nullptr;
    std::map<const void*, CudaModule> modules;  // by image
    std::map<std::string, CudaFunction> functions;
};

std::mutex device_mutex;
std::map<int32_t, Device> devices;
thread_local char error_text[512];

// Pinned memory of one upload: free again when its event has come.
struct Staging {
    void* memory;
    size_t bytes;
    CudaEvent event;
};

}  // namespace

// A thread that waits for an event sleeps: by default it would keep a core busy.
static constexpr unsigned event_flags = CUDA_EVENT_BLOCKING_SYNC | CUDA_EVENT_DISABLE_TIMING;

struct vin_stream {
    const Driver* driver;
    Device* device;
    CudaStream stream;
    std::vector<Staging> ring;  // the least recently used first
    size_t ring_bytes;
    // What the next op was handed. Without a driver the stream measures: nothing is launched, and scratch_bytes is what
    // the op asks for.
    void* scratch;
    size_t scratch_bytes, scratch_used;
};

struct vin_event {
    const Driver* driver;
    Device* device;
    CudaEvent event;
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
    const Refusal* refusal = nullptr;
    *driver = start_driver(&refusal);
    return *driver ? (vin_status)VIN_OK : fail(refusal->status, "%s", refusal->text);
}

static int attribute(const Driver* driver, CudaDevice id, int which) {
    int value = 0;
    return driver->device_attribute(&value, which, id) == CUDA_SUCCESS ? value : 0;
}

static int architecture(const Driver* driver, CudaDevice id) {
    return 10 * attribute(driver, id, CUDA_DEVICE_CAPABILITY_MAJOR) +
           attribute(driver, id, CUDA_DEVICE_CAPABILITY_MINOR);
}

static vin_status load_module(const Driver* driver, Device& device, const void* image, CudaModule* module) {
    CudaModule& loaded = device.modules[image];
    const CudaResult result = loaded ? CUDA_SUCCESS : driver->module_load(&loaded, image);
    *module = loaded;
    if (result == CUDA_ERROR_NO_BINARY_FOR_GPU || result == CUDA_ERROR_UNSUPPORTED_PTX_VERSION)
        return fail(VIN_NO_CODE,
                    "Expected kernels for this GPU, sm_%d, but the plug-in has none; install one that does, or use "
                    "device 'cpu'",
                    architecture(driver, device.id));
    return check(driver, result, "loading the kernels");
}

vin_status launch_by_name(vin_stream* stream, const char* name, Grid grid, Grid block, unsigned shared_bytes,
                          void** parameters) {
    const Driver* driver = stream->driver;
    if (!driver) return VIN_OK;
    VIN_TRY(check(driver, driver->context_set(stream->device->context), name));
    CudaFunction function;
    {
        std::lock_guard<std::mutex> lock(device_mutex);
        CudaFunction& known = stream->device->functions[name];
        if (!known) {
            CudaModule module;
            VIN_TRY(load_module(driver, *stream->device, driver->image_of(name), &module));
            VIN_TRY(check(driver, driver->module_function(&known, module, name), name));
        }
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
    const size_t end = stream->scratch_used + (bytes + 255) / 256 * 256;
    if (!stream->driver) stream->scratch_bytes = end;
    if (end > stream->scratch_bytes)
        return fail(VIN_INVALID, "Expected %zu bytes of scratch memory but the plan has %zu", end,
                    stream->scratch_bytes);
    *data = static_cast<char*>(stream->scratch) + stream->scratch_used;
    stream->scratch_used = end;
    return VIN_OK;
}

}  // namespace cuda
}  // namespace vin

namespace {

// Makes the context of a stream or an event this thread's: any thread waits for events, and takes pinned memory.
template <class Opened>
vin_status enter(const Opened* opened) {
    return check(opened->driver, opened->driver->context_set(opened->device->context), "entering the context");
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

// ---- devices ----

// With device_mutex held. The context is the primary one, shared with whatever else uses CUDA here; it goes, with all
// memory that is left, when its last user does.
void leave_device(const Driver* driver, Device& device) {
    if (--device.users > 0) return;
    driver->context_release(device.id);
    device.context = nullptr;
    device.modules.clear();
    device.functions.clear();
}

vin_status enter_device(const Driver* driver, int32_t ordinal, Device** device) {
    int32_t count = 0;
    VIN_TRY(device_count(&count));
    if (count < 1)
        return fail(VIN_NO_DEVICE,
                    "Expected a GPU but the driver counts %d of them; see whether nvidia-smi shows one, or use device "
                    "'cpu'",
                    (int)count);
    if (ordinal < 0 || ordinal >= count)
        return fail(VIN_NO_DEVICE, "Expected one of the %d CUDA devices, which count from 0, but received %d",
                    (int)count, (int)ordinal);
    Device& found = devices[ordinal];
    if (found.users == 0) {
        VIN_TRY(check(driver, driver->device_get(&found.id, ordinal), "finding the device"));
        VIN_TRY(check(driver, driver->context_retain(&found.context, found.id), "opening the device"));
    }
    found.users++;
    vin_status status = check(driver, driver->context_set(found.context), "entering the context");
    if (status != VIN_OK) {
        leave_device(driver, found);
        return status;
    }
    *device = &found;
    return VIN_OK;
}

vin_status describe(const Driver* driver, CudaDevice id, vin_device_info* info) {
    memset(info, 0, sizeof *info);
    VIN_TRY(check(driver, driver->device_name(info->name, (int)sizeof info->name, id), "reading the device's name"));
    size_t free_bytes = 0, total_bytes = 0;
    VIN_TRY(check(driver, driver->memory_info(&free_bytes, &total_bytes), "reading the device's memory"));
    info->free_bytes = free_bytes;
    info->total_bytes = total_bytes;
    CudaUuid uuid = {};
    VIN_TRY(check(driver, driver->device_uuid(&uuid, id), "reading the device's uuid"));
    char* text = info->uuid;
    for (int i = 0; i < 16; i++)
        text += snprintf(text, 4, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", uuid.bytes[i]);
    info->arch = architecture(driver, id);
    int version = 0;
    driver->driver_version(&version);
    info->driver = version;
    info->multiprocessors = attribute(driver, id, CUDA_DEVICE_MULTIPROCESSORS);
    // An op of one chunk keeps some 16 multiprocessors busy; more streams than 8 only hold memory.
    info->streams = std::min(8, std::max(1, info->multiprocessors / 16));
    info->dtypes = 1u << VIN_DTYPE_F32;
    return VIN_OK;
}

vin_status device_info(int32_t ordinal, vin_device_info* info) {
    const Driver* driver;
    VIN_TRY(driver_of(&driver));
    std::lock_guard<std::mutex> lock(device_mutex);
    Device* device;
    VIN_TRY(enter_device(driver, ordinal, &device));
    const vin_status status = describe(driver, device->id, info);
    leave_device(driver, *device);
    return status;
}

// ---- streams and events ----

vin_status stream_open(int32_t ordinal, void*, vin_stream** stream) {
    const Driver* driver;
    VIN_TRY(driver_of(&driver));
    std::lock_guard<std::mutex> lock(device_mutex);
    Device* device;
    VIN_TRY(enter_device(driver, ordinal, &device));
    CudaStream opened;
    CudaModule any;  // whether there is code for this GPU is told here, not at the first op
    vin_status status = load_module(driver, *device, driver->image_of(nullptr), &any);
    if (status == VIN_OK)
        status = check(driver, driver->stream_create(&opened, CUDA_STREAM_NON_BLOCKING), "opening a stream");
    if (status == VIN_OK)
        *stream = new vin_stream{driver, device, opened, {}, 0, nullptr, 0, 0};
    else
        leave_device(driver, *device);
    return status;
}

// Closes what can be closed: a device that is lost answers every call with its error.
vin_status stream_close(vin_stream* stream) {
    const Driver* driver = stream->driver;
    vin_status status = enter(stream);
    for (const Staging& staging : stream->ring) {
        driver->event_destroy(staging.event);
        driver->host_free(staging.memory);
    }
    const vin_status closed = check(driver, driver->stream_destroy(stream->stream), "closing a stream");
    {
        std::lock_guard<std::mutex> lock(device_mutex);
        leave_device(driver, *stream->device);
    }
    delete stream;
    return status != VIN_OK ? status : closed;
}

vin_status stream_wait(vin_stream* stream) {
    VIN_TRY(enter(stream));
    return check(stream->driver, stream->driver->stream_synchronize(stream->stream), "waiting for the device");
}

vin_status event_open(vin_stream* stream, vin_event** event) {
    VIN_TRY(enter(stream));
    CudaEvent opened;
    VIN_TRY(check(stream->driver, stream->driver->event_create(&opened, event_flags), "making an event"));
    *event = new vin_event{stream->driver, stream->device, opened};
    return VIN_OK;
}

vin_status event_close(vin_event* event) {
    const vin_status status = enter(event);
    const vin_status closed = check(event->driver, event->driver->event_destroy(event->event), "freeing an event");
    delete event;
    return status != VIN_OK ? status : closed;
}

vin_status event_record(vin_event* event, vin_stream* stream) {
    VIN_TRY(enter(stream));
    return check(stream->driver, stream->driver->event_record(event->event, stream->stream), "recording an event");
}

vin_status event_wait(vin_event* event) {
    VIN_TRY(enter(event));
    return check(event->driver, event->driver->event_synchronize(event->event), "waiting for the device");
}

vin_status stream_after(vin_stream* stream, vin_event* event) {
    VIN_TRY(enter(stream));
    return check(stream->driver, stream->driver->stream_wait_event(stream->stream, event->event, 0), "joining streams");
}

// ---- memory ----

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

vin_status host_alloc(vin_stream* stream, size_t bytes, void** host) {
    *host = nullptr;
    VIN_TRY(enter(stream));
    return check(stream->driver, stream->driver->host_alloc(host, bytes ? bytes : 1, 0), "taking pinned memory");
}

vin_status host_free(vin_stream* stream, void* host) {
    VIN_TRY(enter(stream));
    return check(stream->driver, stream->driver->host_free(host), "freeing pinned memory");
}

// Uploads pass through pinned memory that is the stream's: pieces of at most so many bytes, and in flight at most so
// many. Weights wait for the copies before them; what an evaluation uploads is far from the bound.
constexpr size_t staging_piece = size_t(4) << 20, staging_limit = size_t(32) << 20;

// The piece to use next, at the end of the ring.
vin_status take_staging(vin_stream* stream, size_t bytes, Staging** taken) {
    const Driver* driver = stream->driver;
    std::vector<Staging>& ring = stream->ring;
    for (size_t i = 0; i < ring.size(); i++) {
        if (ring[i].bytes < bytes) continue;
        const bool full = stream->ring_bytes + bytes > staging_limit;
        const CudaResult result = full ? driver->event_synchronize(ring[i].event) : driver->event_query(ring[i].event);
        if (result == CUDA_ERROR_NOT_READY) break;  // and those behind it are later
        VIN_TRY(check(driver, result, "waiting for a copy to the device"));
        std::rotate(ring.begin() + (long)i, ring.begin() + (long)i + 1, ring.end());
        *taken = &ring.back();
        return VIN_OK;
    }
    Staging made = {nullptr, std::max(bytes, size_t(64) << 10), nullptr};
    VIN_TRY(host_alloc(stream, made.bytes, &made.memory));
    const vin_status status = check(driver, driver->event_create(&made.event, event_flags), "making an event");
    if (status != VIN_OK) {
        driver->host_free(made.memory);
        return status;
    }
    stream->ring_bytes += made.bytes;
    ring.push_back(made);
    *taken = &ring.back();
    return VIN_OK;
}

vin_status upload(vin_stream* stream, void* device, const void* host, size_t bytes) {
    VIN_TRY(enter(stream));
    const Driver* driver = stream->driver;
    for (size_t done = 0; done < bytes;) {
        const size_t piece = std::min(bytes - done, staging_piece);
        Staging* staging;
        VIN_TRY(take_staging(stream, piece, &staging));
        memcpy(staging->memory, static_cast<const char*>(host) + done, piece);
        VIN_TRY(check(
            driver,
            driver->copy_to_device(reinterpret_cast<CudaMemory>(device) + done, staging->memory, piece, stream->stream),
            "copying to the device"));
        VIN_TRY(check(driver, driver->event_record(staging->event, stream->stream), "recording an event"));
        done += piece;
    }
    return VIN_OK;
}

vin_status download(vin_stream* stream, void* host, const void* device, size_t bytes) {
    if (bytes == 0) return VIN_OK;
    VIN_TRY(enter(stream));
    return check(stream->driver,
                 stream->driver->copy_to_host(host, reinterpret_cast<CudaMemory>(device), bytes, stream->stream),
                 "copying to the host");
}

const char* last_error() { return error_text; }

#define VIN_OP(name, fields) \
    vin_status lacks_##name(vin_stream*, const vin_##name##_args*) { \
        return fail(VIN_NOT_SUPPORTED, "The CUDA backend has no " #name ": use device 'cpu' for it"); \
    }
#include "../csrc/ops.def"
#undef VIN_OP

// The launcher itself says what it needs, so it cannot say two things.
size_t scratch_bytes(int32_t op, const void* args) {
    static char any[64];
    vin_stream measure = {nullptr, nullptr, nullptr, {}, 0, any, 0, 0};
    switch (op) {
#define VIN_OP(name, fields) \
    case VIN_OP_##name: \
        if (vin_cuda_##name) vin_cuda_##name(&measure, static_cast<const vin_##name##_args*>(args)); \
        break;
#include "../csrc/ops.def"
#undef VIN_OP
        default: break;
    }
    return measure.scratch_bytes;
}

vin_status set_scratch(vin_stream* stream, void* data, size_t bytes) {
    stream->scratch = data;
    stream->scratch_bytes = bytes;
    stream->scratch_used = 0;
    return VIN_OK;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) vin_status vin_backend_entry(uint32_t host_abi, const vin_host*,
                                                                               vin_backend* backend) {
    // The host compares these two with its own; its struct may be smaller than ours until they are found equal.
    backend->abi = VIN_ABI;
    backend->size = sizeof *backend;
    if (host_abi != VIN_ABI) return VIN_INVALID;
    memset(backend, 0, sizeof *backend);
    backend->abi = VIN_ABI;
    backend->size = sizeof *backend;
    backend->last_error = last_error;
    const Refusal* refusal = nullptr;
    const Driver* driver = open_driver(&refusal);
    if (!driver) return fail(refusal->status, "%s", refusal->text);
    backend->name = driver->name;
    backend->build = driver->build;
    backend->asynchronous = 1;
    backend->device_count = device_count;
    backend->device_info = device_info;
    backend->stream_open = stream_open;
    backend->stream_close = stream_close;
    backend->stream_wait = stream_wait;
    backend->event_open = event_open;
    backend->event_close = event_close;
    backend->event_record = event_record;
    backend->event_wait = event_wait;
    backend->stream_after = stream_after;
    backend->host_alloc = host_alloc;
    backend->host_free = host_free;
    backend->alloc = alloc;
    backend->free = free_memory;
    backend->upload = upload;
    backend->download = download;
    backend->scratch_bytes = scratch_bytes;
    backend->set_scratch = set_scratch;
#define VIN_OP(name, fields) backend->name = vin_cuda_##name ? vin_cuda_##name : lacks_##name;
#include "../csrc/ops.def"
#undef VIN_OP
    return VIN_OK;
}
