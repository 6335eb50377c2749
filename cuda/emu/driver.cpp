// Fills the table of driver.h on the host. Streams run what they are given at once, in order. Every allocation ends at
// a protected page and begins as NaNs, freed pages stay protected; launches are checked against the limits of the
// emulated architecture; a kernel's fault fails every later call, as on a GPU.
//   VIN_EMU_ARCH = 75 80 86 89 90 100 120 (80)     VIN_EMU_SCHED = rr, reverse, random:<seed> (rr)
#include "../driver.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "block.h"

namespace vin {
namespace cuda {
struct CUctx_st {};
struct CUmod_st {};
struct CUfunc_st {
    const vin::emu::KernelEntry* kernel;
    int max_shared;
};
struct CUstream_st {};
struct CUevent_st {};
}  // namespace cuda
}  // namespace vin

namespace vin {
namespace emu {

using namespace vin::cuda;

namespace {

constexpr size_t page = 4096, alignment = 64;
constexpr int CUDA_ERROR_INVALID_CONTEXT = 201;
const char image[] = "emulated kernels";

struct Architecture {
    const char* name;
    int shared_opt_in;  // bytes a block may have if it asks
};
const Architecture architectures[] = {{"75", 64 << 10},  {"80", 163 << 10},  {"86", 99 << 10}, {"89", 99 << 10},
                                      {"90", 227 << 10}, {"100", 227 << 10}, {"120", 99 << 10}};

// Everything of the one emulated device; held by `mutex` during each call, a launch included.
std::mutex mutex;
CUctx_st context;
CUmod_st module;
std::map<std::string, std::unique_ptr<CUfunc_st>> functions;
std::map<uintptr_t, size_t> allocations;  // first byte → size
const Architecture* architecture;
std::unique_ptr<Schedule> schedule;
CudaResult sticky = CUDA_SUCCESS;
std::string report;  // what error_text tells of the last error
thread_local bool has_context = false;

CudaResult refuse(CudaResult result, const std::string& text) {
    report = text;
    return result;
}

// The state in which every call but the first few has to be.
CudaResult state() {
    if (sticky != CUDA_SUCCESS) return sticky;
    return has_context ? CUDA_SUCCESS : refuse(CUDA_ERROR_INVALID_CONTEXT, "this thread has no context");
}
#define VIN_STATE() \
    std::lock_guard<std::mutex> lock(mutex); \
    if (const CudaResult result_ = state()) return result_

CudaResult init(unsigned) { return CUDA_SUCCESS; }
CudaResult driver_version(int* version) { return *version = 13000, CUDA_SUCCESS; }
CudaResult device_count(int* count) { return *count = 1, CUDA_SUCCESS; }
CudaResult device_get(CudaDevice* device, int ordinal) {
    if (ordinal != 0)
        return refuse(CUDA_ERROR_INVALID_VALUE,
                      "there is one emulated device, 0, but " + std::to_string(ordinal) + " was asked for");
    *device = 0;
    return CUDA_SUCCESS;
}
CudaResult device_name(char* name, int length, CudaDevice) {
    const std::string text = std::string("emulated sm_") + architecture->name;
    if (length < 1) return CUDA_ERROR_INVALID_VALUE;
    name[text.copy(name, static_cast<size_t>(length) - 1)] = 0;
    return CUDA_SUCCESS;
}
CudaResult context_retain(CudaContext* result, CudaDevice) { return *result = &context, CUDA_SUCCESS; }
CudaResult context_set(CudaContext wanted) {
    std::lock_guard<std::mutex> lock(mutex);
    has_context = wanted == &context;
    return sticky;
}
CudaResult memory_info(size_t* free_bytes, size_t* total_bytes) {
    *free_bytes = static_cast<size_t>(sysconf(_SC_AVPHYS_PAGES)) * page;
    *total_bytes = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * page;
    return CUDA_SUCCESS;
}

CudaResult module_load(CudaModule* result, const void* data) {
    VIN_STATE();
    if (data != image) return refuse(CUDA_ERROR_INVALID_VALUE, "the emulator loads its own kernels only");
    *result = &module;
    return CUDA_SUCCESS;
}
CudaResult module_function(CudaFunction* function, CudaModule, const char* name) {
    VIN_STATE();
    auto& found = functions[name];
    for (const KernelEntry* each = kernels; each && !found; each = each->next)
        if (strcmp(each->name, name) == 0) found.reset(new CUfunc_st{each, 48 << 10});
    *function = found.get();
    return found ? CUDA_SUCCESS : refuse(CUDA_ERROR_NOT_FOUND, std::string("there is no kernel ") + name);
}
CudaResult function_set_attribute(CudaFunction function, int attribute, int value) {
    VIN_STATE();
    if (attribute != CUDA_FUNCTION_MAX_DYNAMIC_SHARED || value < 0)
        return refuse(CUDA_ERROR_INVALID_VALUE, "the emulator does not know this attribute");
    if (value > architecture->shared_opt_in)
        return refuse(CUDA_ERROR_INVALID_VALUE, std::string(function->kernel->name) + " asks for " +
                                                    std::to_string(value) + " bytes of shared memory, sm_" +
                                                    architecture->name + " has " +
                                                    std::to_string(architecture->shared_opt_in));
    function->max_shared = value;
    return CUDA_SUCCESS;
}

size_t mapped(size_t bytes) { return (bytes + page - 1) / page * page; }

CudaResult memory_alloc(CudaMemory* memory, size_t bytes) {
    VIN_STATE();
    if (bytes == 0 || bytes > SIZE_MAX / 2) return refuse(CUDA_ERROR_INVALID_VALUE, "an allocation of 0 bytes");
    const size_t size = (bytes + alignment - 1) / alignment * alignment, room = mapped(size);
    void* base = mmap(nullptr, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || mprotect(static_cast<char*>(base) + room, page, PROT_NONE) != 0)
        return refuse(CUDA_ERROR_OUT_OF_MEMORY, "the host has no " + std::to_string(bytes) + " bytes left");
    memset(base, 0xFF, room);
    *memory = reinterpret_cast<uintptr_t>(base) + room - size;
    allocations[*memory] = bytes;
    return CUDA_SUCCESS;
}
CudaResult memory_free(CudaMemory memory) {
    VIN_STATE();
    const auto found = allocations.find(memory);
    if (found == allocations.end())
        return refuse(CUDA_ERROR_INVALID_VALUE, "memory is freed that was not allocated, or twice");
    const size_t size = (found->second + alignment - 1) / alignment * alignment, room = mapped(size);
    void* base = reinterpret_cast<void*>(memory + size - room);
    madvise(base, room, MADV_DONTNEED);
    mprotect(base, room, PROT_NONE);
    allocations.erase(found);
    return CUDA_SUCCESS;
}

// Whether [memory, memory + bytes) lies in one allocation.
bool inside(CudaMemory memory, size_t bytes) {
    auto found = allocations.upper_bound(memory);
    if (found == allocations.begin()) return false;
    --found;
    const size_t offset = memory - found->first;
    return offset <= found->second && bytes <= found->second - offset;
}
CudaResult copy_to_device(CudaMemory to, const void* from, size_t bytes, CudaStream) {
    VIN_STATE();
    if (!inside(to, bytes)) return refuse(CUDA_ERROR_INVALID_VALUE, "a copy ends outside of its allocation");
    memcpy(reinterpret_cast<void*>(to), from, bytes);
    return CUDA_SUCCESS;
}
CudaResult copy_to_host(void* to, CudaMemory from, size_t bytes, CudaStream) {
    VIN_STATE();
    if (!inside(from, bytes))
        return refuse(CUDA_ERROR_INVALID_VALUE, "a copy begins or ends outside of its allocation");
    memcpy(to, reinterpret_cast<const void*>(from), bytes);
    return CUDA_SUCCESS;
}
CudaResult fill_bytes(CudaMemory to, unsigned char value, size_t bytes, CudaStream) {
    VIN_STATE();
    if (!inside(to, bytes)) return refuse(CUDA_ERROR_INVALID_VALUE, "a fill ends outside of its allocation");
    memset(reinterpret_cast<void*>(to), value, bytes);
    return CUDA_SUCCESS;
}

// Streams and events hold nothing while everything runs at once; they are objects of their own so that a memory checker
// sees use after destruction.
CudaResult stream_create(CudaStream* stream, unsigned) {
    VIN_STATE();
    *stream = new CUstream_st;
    return CUDA_SUCCESS;
}
CudaResult stream_destroy(CudaStream stream) {
    delete stream;
    return CUDA_SUCCESS;
}
CudaResult stream_synchronize(CudaStream) {
    VIN_STATE();
    return CUDA_SUCCESS;
}
CudaResult stream_wait_event(CudaStream, CudaEvent, unsigned) {
    VIN_STATE();
    return CUDA_SUCCESS;
}
CudaResult event_create(CudaEvent* event, unsigned) {
    VIN_STATE();
    *event = new CUevent_st;
    return CUDA_SUCCESS;
}
CudaResult event_record(CudaEvent, CudaStream) {
    VIN_STATE();
    return CUDA_SUCCESS;
}
CudaResult event_destroy(CudaEvent event) {
    delete event;
    return CUDA_SUCCESS;
}

// The empty text if a GPU would take this launch.
std::string limits(const CUfunc_st& function, Index3 grid, Index3 block, unsigned shared_bytes) {
    const auto number = [](uint64_t n) { return std::to_string(n); };
    const uint64_t threads = static_cast<uint64_t>(block.x) * block.y * block.z;
    if (threads == 0 || !grid.x || !grid.y || !grid.z) return "a grid and a block have at least one of each";
    if (threads > 1024) return "a block has at most 1024 threads, not " + number(threads);
    if (block.z > 64) return "a block has at most 64 threads along z, not " + number(block.z);
    if (grid.x > 0x7fffffff) return "a grid has at most 2147483647 blocks along x, not " + number(grid.x);
    if (grid.y > 65535 || grid.z > 65535)
        return "a grid has at most 65535 blocks along y and z, not " + number(std::max(grid.y, grid.z));
    if (shared_bytes > static_cast<unsigned>(function.max_shared))
        return number(shared_bytes) +
               " bytes of shared memory were not asked for: " + number(static_cast<uint64_t>(function.max_shared)) +
               " may be used";
    return "";
}

CudaResult launch(CudaFunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                  unsigned block_y, unsigned block_z, unsigned shared_bytes, CudaStream, void** parameters, void**) {
    VIN_STATE();
    const KernelEntry& kernel = *function->kernel;
    const Index3 grid = {grid_x, grid_y, grid_z}, block = {block_x, block_y, block_z};
    if (const std::string text = limits(*function, grid, block, shared_bytes); !text.empty())
        return refuse(CUDA_ERROR_INVALID_VALUE, std::string(kernel.name) + ": " + text);
    // Arguments are the launch's own from here on, wherever the caller kept them.
    std::vector<std::unique_ptr<max_align_t[]>> copies;
    std::vector<void*> arguments;
    for (int i = 0; i < kernel.parameters; i++) {
        copies.emplace_back(new max_align_t[kernel.bytes[i] / sizeof(max_align_t) + 1]);
        memcpy(copies.back().get(), parameters[i], kernel.bytes[i]);
        arguments.push_back(copies.back().get());
    }
    const std::string text = run_launch({&kernel, arguments.data(), grid, block, shared_bytes}, *schedule);
    if (!text.empty()) sticky = refuse(CUDA_ERROR_LAUNCH_FAILED, text);
    return sticky;
}

CudaResult error_text(CudaResult, const char** text) {
    static thread_local std::string kept;
    std::lock_guard<std::mutex> lock(mutex);
    kept = report;
    *text = kept.c_str();
    return CUDA_SUCCESS;
}

const char* environment(const char* name, const char* otherwise) {
    const char* value = getenv(name);
    return value && *value ? value : otherwise;
}

const char* fill(Driver& driver) {
    const std::string wanted = environment("VIN_EMU_ARCH", "80");
    for (const Architecture& each : architectures)
        if (wanted == each.name) architecture = &each;
    if (!architecture) return "Expected 75, 80, 86, 89, 90, 100 or 120 for VIN_EMU_ARCH";
    schedule = std::make_unique<Schedule>(environment("VIN_EMU_SCHED", "rr"));
    if (!schedule->valid()) return "Expected rr, reverse or random:<seed> for VIN_EMU_SCHED";
#define VIN_DRIVER_FILL(field, symbol, parameters) driver.field = field;
    VIN_DRIVER_TABLE(VIN_DRIVER_FILL)
#undef VIN_DRIVER_FILL
    driver.image = image;
    driver.name = "cuda-emu";
    driver.build = architecture->name;
    return nullptr;
}

}  // namespace
}  // namespace emu
}  // namespace vin

namespace vin {
namespace cuda {

const Driver* open_driver(const char** why) {
    static Driver driver = {};
    static const char* const problem = emu::fill(driver);
    *why = problem;
    return problem ? nullptr : &driver;
}

}  // namespace cuda
}  // namespace vin
