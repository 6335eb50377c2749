// Fills the table of driver.h on the host. A stream is a queue: what is put into it runs when somebody waits, in an
// order that an adversary picks among all that events and streams leave open. Every allocation ends at a protected page
// and begins as NaNs, freed pages stay protected; launches are checked against the limits of the emulated architecture;
// a kernel's fault, memory freed or written while something in flight uses it, each fails every later call of the
// context, as on a GPU. Read once:
//   VIN_EMU_ARCH = 75 80 86 89 90 100 120 (80)     VIN_EMU_SCHED = rr, reverse, random:<seed> (rr)
//   VIN_EMU_DEVICES = how many (1)                 VIN_EMU_COUNTERS = a file that counters are kept in, by Counter
// Read when a context opens:
//   VIN_EMU_EXECUTOR = fifo, lifo, random:<seed>, starve (the oldest stream comes last), last-moment (only what is
//   waited
//                      for) (fifo)                 VIN_EMU_DELAY = microseconds that a launch takes beside its work (0)
//   VIN_EMU_MEMORY = bytes of the device (the host's)
//   VIN_EMU_FAULT = allocation:<n> (that one and all later ones fail), launch:<n> (its kernel faults), lost:<n> (the
//   device
//                   is lost at that launch), wait:<n> (that wait of a stream for an event is dropped); counted from 1
#include "../driver.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "block.h"

namespace vin {
namespace emu {
namespace {

// What a stream was given. It may run when all that it comes after is done.
struct Node {
    vin::cuda::CudaStream stream;
    std::function<std::string()> work;  // returns what it did wrong
    std::vector<std::shared_ptr<Node>> after;
    std::vector<uintptr_t> uses;  // first bytes of allocations, of the device or pinned
    bool launch = false;
    bool done = false;
};
using NodeRef = std::shared_ptr<Node>;

enum class Executor { fifo, lifo, random, starve, last_moment };

}  // namespace
}  // namespace emu

namespace cuda {

struct CUmod_st {};
struct CUfunc_st {
    const emu::KernelEntry* kernel;
    int max_shared;
};

// A device and its primary context, which is there while it has users.
struct CUctx_st {
    int users = 0;
    std::map<uintptr_t, size_t> allocations, freed, pinned;  // first byte → size
    size_t used = 0, memory = 0;
    CUmod_st module;
    std::map<std::string, std::unique_ptr<CUfunc_st>> functions;
    CudaResult sticky = CUDA_SUCCESS;

    std::vector<emu::NodeRef> pending;  // oldest first
    bool busy = false;                  // one of them runs
    std::condition_variable changed;
    uint64_t streams = 0;

    emu::Executor executor = emu::Executor::fifo;
    std::mt19937_64 random;
    unsigned delay = 0;
    uint64_t launches = 0, allocated = 0, waits = 0;  // so far
    uint64_t failing_allocation = 0, failing_launch = 0, lost_at = 0, dropped_wait = 0;
};

struct CUstream_st {
    CUctx_st* context;
    uint64_t number;
    emu::NodeRef last;
};
struct CUevent_st {
    CUctx_st* context;
    emu::NodeRef node;  // null: not recorded
};

}  // namespace cuda
}  // namespace vin

namespace vin {
namespace emu {

using namespace vin::cuda;

namespace {

constexpr size_t page = 4096, alignment = 64;
constexpr int CUDA_ERROR_INVALID_CONTEXT = 201, CUDA_ERROR_UNKNOWN = 999, most_devices = 16;
const char image[] = "emulated kernels";

struct Architecture {
    const char* name;
    int shared_opt_in;  // bytes a block may have if it asks
};
const Architecture architectures[] = {{"75", 64 << 10},  {"80", 163 << 10},  {"86", 99 << 10}, {"89", 99 << 10},
                                      {"90", 227 << 10}, {"100", 227 << 10}, {"120", 99 << 10}};

// 64-bit numbers in VIN_EMU_COUNTERS, in this order. Waits are those of threads that also queue work: one that does
// nothing but wait holds nobody up. Bytes are those allocated now, of all devices. Ready streams are
// those that had a launch which could run, at most; they and the waits of streams for events count from when a context
// opens.
enum Counter { launches, uploads, downloads, waits, allocations, bytes_now, ready_streams, stream_waits, counters };

// Held by each call; not while a node runs.
std::mutex mutex;
CUctx_st contexts[most_devices];
int devices = 1;
const Architecture* architecture;
std::unique_ptr<Schedule> schedule;
uint64_t own_counts[counters];
uint64_t* count = own_counts;
std::string report;  // what error_text tells of the last error
thread_local CUctx_st* bound = nullptr;
thread_local bool queues = false;

const char* environment(const char* name, const char* otherwise) {
    const char* value = getenv(name);
    return value && *value ? value : otherwise;
}

CudaResult refuse(CudaResult result, const std::string& text) {
    report = text;
    return result;
}

// An error that stays.
CudaResult poison(CUctx_st& context, CudaResult result, const std::string& text) {
    if (context.sticky == CUDA_SUCCESS) context.sticky = refuse(result, text);
    return context.sticky;
}

// The state in which every call but the first few has to be.
CudaResult state() {
    if (!bound || !bound->users) return refuse(CUDA_ERROR_INVALID_CONTEXT, "this thread has no context");
    return bound->sticky;
}
#define VIN_STATE() \
    std::unique_lock<std::mutex> lock(mutex); \
    if (const CudaResult result_ = state()) return result_; \
    CUctx_st& context = *bound; \
    (void)context

// ---- what is in flight ----

bool ready(const Node& node) {
    return std::all_of(node.after.begin(), node.after.end(), [](const NodeRef& each) { return each->done; });
}

// The node to run next while somebody waits for `target`.
NodeRef choose(CUctx_st& context, const NodeRef& target) {
    if (context.executor == Executor::last_moment) {
        NodeRef needed = target;
        for (;;) {
            const auto open = std::find_if(needed->after.begin(), needed->after.end(),
                                           [](const NodeRef& each) { return !each->done; });
            if (open == needed->after.end()) return needed;
            needed = *open;
        }
    }
    std::vector<NodeRef> open;
    for (const NodeRef& node : context.pending)
        if (ready(*node)) open.push_back(node);
    switch (context.executor) {
        case Executor::lifo: return open.back();
        case Executor::random: return open[context.random() % open.size()];
        case Executor::starve:
            return *std::max_element(open.begin(), open.end(), [](const NodeRef& a, const NodeRef& b) {
                return a->stream->number < b->stream->number;
            });
        default: return open.front();
    }
}

// Runs nodes, one at a time, until `target` is done.
CudaResult finish(std::unique_lock<std::mutex>& lock, CUctx_st& context, const NodeRef& target) {
    while (target && !target->done && context.sticky == CUDA_SUCCESS) {
        if (context.busy) {
            context.changed.wait(lock);
            continue;
        }
        count[ready_streams] = std::max<uint64_t>(
            count[ready_streams],
            static_cast<uint64_t>(std::count_if(context.pending.begin(), context.pending.end(),
                                                [](const NodeRef& each) { return each->launch && ready(*each); })));
        const NodeRef node = choose(context, target);
        context.busy = true;
        lock.unlock();
        const std::string text = node->work ? node->work() : "";
        lock.lock();
        context.busy = false;
        node->done = true;
        node->work = nullptr;
        node->after.clear();
        context.pending.erase(std::find(context.pending.begin(), context.pending.end(), node));
        if (!text.empty()) poison(context, CUDA_ERROR_LAUNCH_FAILED, text);
        context.changed.notify_all();
    }
    return context.sticky;
}

CudaResult wait_for(std::unique_lock<std::mutex>& lock, CUctx_st& context, const NodeRef& target) {
    if (queues) count[waits]++;
    return finish(lock, context, target);
}

NodeRef enqueue(CudaStream stream, std::vector<uintptr_t> uses, std::function<std::string()> work) {
    auto node = std::make_shared<Node>();
    node->stream = stream;
    node->uses = std::move(uses);
    node->work = std::move(work);
    if (stream->last && !stream->last->done) node->after.push_back(stream->last);
    stream->context->pending.push_back(node);
    stream->last = node;
    queues = true;
    return node;
}

// ---- devices and contexts ----

CudaResult init(unsigned) { return CUDA_SUCCESS; }
CudaResult driver_version(int* version) { return *version = 13000, CUDA_SUCCESS; }
CudaResult device_count(int* found) { return *found = devices, CUDA_SUCCESS; }
CudaResult device_get(CudaDevice* device, int ordinal) {
    if (ordinal < 0 || ordinal >= devices)
        return refuse(CUDA_ERROR_INVALID_DEVICE, "there is no emulated device " + std::to_string(ordinal));
    *device = ordinal;
    return CUDA_SUCCESS;
}
CudaResult device_name(char* name, int length, CudaDevice) {
    const std::string text = std::string("emulated sm_") + architecture->name;
    if (length < 1) return CUDA_ERROR_INVALID_VALUE;
    name[text.copy(name, static_cast<size_t>(length) - 1)] = 0;
    return CUDA_SUCCESS;
}
CudaResult device_attribute(int* value, int attribute, CudaDevice) {
    const int arch = atoi(architecture->name);
    switch (attribute) {
        case CUDA_DEVICE_MULTIPROCESSORS: *value = 64; return CUDA_SUCCESS;
        case CUDA_DEVICE_CAPABILITY_MAJOR: *value = arch / 10; return CUDA_SUCCESS;
        case CUDA_DEVICE_CAPABILITY_MINOR: *value = arch % 10; return CUDA_SUCCESS;
        default: return refuse(CUDA_ERROR_INVALID_VALUE, "the emulator does not know this attribute");
    }
}
CudaResult device_uuid(CudaUuid* uuid, CudaDevice device) {
    *uuid = {{'e', 'm', 'u', 'l', 'a', 't', 'e', 'd', 0, 0, 0, 0, 0, 0, 0, static_cast<unsigned char>(device)}};
    return CUDA_SUCCESS;
}

bool starts(const std::string& text, const char* with) { return text.rfind(with, 0) == 0; }

// The number behind "<name>:" in VIN_EMU_FAULT; 0: none.
uint64_t fault(const char* name) {
    const std::string text = environment("VIN_EMU_FAULT", "");
    return starts(text, (std::string(name) + ":").c_str()) ? strtoull(text.c_str() + strlen(name) + 1, nullptr, 10) : 0;
}

CudaResult context_retain(CudaContext* result, CudaDevice device) {
    std::lock_guard<std::mutex> lock(mutex);
    CUctx_st& context = contexts[device];
    if (context.users == 0) {
        const std::string wanted = environment("VIN_EMU_EXECUTOR", "fifo");
        if (wanted == "fifo")
            context.executor = Executor::fifo;
        else if (wanted == "lifo")
            context.executor = Executor::lifo;
        else if (wanted == "starve")
            context.executor = Executor::starve;
        else if (wanted == "last-moment")
            context.executor = Executor::last_moment;
        else if (starts(wanted, "random:"))
            context.executor = Executor::random;
        else
            return refuse(CUDA_ERROR_INVALID_VALUE,
                          "Expected fifo, lifo, random:<seed>, starve or last-moment for VIN_EMU_EXECUTOR");
        context.random.seed(wanted.size() > 7 ? strtoull(wanted.c_str() + 7, nullptr, 10) : 0);
        context.delay = static_cast<unsigned>(strtoul(environment("VIN_EMU_DELAY", "0"), nullptr, 10));
        context.memory = strtoull(environment("VIN_EMU_MEMORY", "0"), nullptr, 10);
        context.launches = context.allocated = context.waits = 0;
        count[ready_streams] = count[stream_waits] = 0;
        context.failing_allocation = fault("allocation");
        context.failing_launch = fault("launch");
        context.lost_at = fault("lost");
        context.dropped_wait = fault("wait");
    }
    context.users++;
    *result = &context;
    return CUDA_SUCCESS;
}

size_t mapped(size_t bytes) { return (bytes + page - 1) / page * page; }
size_t padded(size_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }

// Gives the pages back and keeps them protected.
void forget(CUctx_st& context, uintptr_t memory, size_t bytes) {
    const size_t size = padded(bytes), room = mapped(size);
    void* base = reinterpret_cast<void*>(memory + size - room);
    madvise(base, room, MADV_DONTNEED);
    mprotect(base, room, PROT_NONE);
    context.freed[memory] = bytes;
    context.used -= bytes;
    count[bytes_now] -= bytes;
}

// The last user takes all memory and every error with it.
CudaResult context_release(CudaDevice device) {
    std::unique_lock<std::mutex> lock(mutex);
    CUctx_st& context = contexts[device];
    if (context.users == 0) return refuse(CUDA_ERROR_INVALID_CONTEXT, "a context is released that nobody holds");
    if (--context.users > 0) return CUDA_SUCCESS;
    context.changed.wait(lock, [&] { return !context.busy; });
    for (const NodeRef& node : context.pending) {
        node->done = true;
        node->after.clear();
    }
    context.pending.clear();
    for (const auto& [memory, bytes] : context.allocations) forget(context, memory, bytes);
    for (const auto& entry : context.pinned) free(reinterpret_cast<void*>(entry.first));
    context.allocations.clear();
    context.pinned.clear();
    context.functions.clear();
    context.sticky = CUDA_SUCCESS;
    return CUDA_SUCCESS;
}

CudaResult context_set(CudaContext wanted) {
    std::lock_guard<std::mutex> lock(mutex);
    bound = wanted;
    return state();
}

size_t device_memory(const CUctx_st& context) {
    return context.memory ? context.memory : static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * page;
}
CudaResult memory_info(size_t* free_bytes, size_t* total_bytes) {
    VIN_STATE();
    *total_bytes = device_memory(context);
    const size_t left = *total_bytes - std::min(*total_bytes, context.used);
    *free_bytes = context.memory ? left : static_cast<size_t>(sysconf(_SC_AVPHYS_PAGES)) * page;
    return CUDA_SUCCESS;
}

CudaResult module_load(CudaModule* result, const void* data) {
    VIN_STATE();
    if (data != image) return refuse(CUDA_ERROR_INVALID_VALUE, "the emulator loads its own kernels only");
    *result = &context.module;
    return CUDA_SUCCESS;
}
CudaResult module_function(CudaFunction* function, CudaModule, const char* name) {
    VIN_STATE();
    auto& found = context.functions[name];
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

// ---- memory ----

// The range of `ranges` that holds this address, or end.
std::map<uintptr_t, size_t>::const_iterator holder(const std::map<uintptr_t, size_t>& ranges, uintptr_t address) {
    auto found = ranges.upper_bound(address);
    if (found == ranges.begin()) return ranges.end();
    --found;
    return address - found->first < std::max<size_t>(found->second, 1) ? found : ranges.end();
}

CudaResult memory_alloc(CudaMemory* memory, size_t bytes) {
    {
        VIN_STATE();
        if (bytes == 0 || bytes > SIZE_MAX / 2) return refuse(CUDA_ERROR_INVALID_VALUE, "an allocation of 0 bytes");
        context.allocated++;
        if (context.failing_allocation && context.allocated >= context.failing_allocation)
            return refuse(CUDA_ERROR_OUT_OF_MEMORY, "out of memory, as was asked for");
        if (bytes > device_memory(context) - std::min(device_memory(context), context.used))
            return refuse(CUDA_ERROR_OUT_OF_MEMORY, "the device has no " + std::to_string(bytes) + " bytes left");
    }
    const size_t size = padded(bytes), room = mapped(size);
    void* base = mmap(nullptr, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const bool mapped_it = base != MAP_FAILED && mprotect(static_cast<char*>(base) + room, page, PROT_NONE) == 0;
    if (mapped_it) memset(base, 0xFF, room);
    VIN_STATE();
    if (!mapped_it) return refuse(CUDA_ERROR_OUT_OF_MEMORY, "the host has no " + std::to_string(bytes) + " bytes left");
    *memory = reinterpret_cast<uintptr_t>(base) + room - size;
    context.allocations[*memory] = bytes;
    context.used += bytes;
    count[allocations]++;
    count[bytes_now] += bytes;
    return CUDA_SUCCESS;
}

bool in_flight(const CUctx_st& context, uintptr_t memory) {
    return std::any_of(context.pending.begin(), context.pending.end(), [&](const NodeRef& node) {
        return std::find(node->uses.begin(), node->uses.end(), memory) != node->uses.end();
    });
}

CudaResult memory_free(CudaMemory memory) {
    VIN_STATE();
    const auto found = context.allocations.find(memory);
    if (found == context.allocations.end())
        return refuse(CUDA_ERROR_INVALID_VALUE, "memory is freed that was not allocated, or twice");
    if (in_flight(context, memory))
        return poison(context, CUDA_ERROR_LAUNCH_FAILED,
                      "an allocation of " + std::to_string(found->second) + " bytes is freed in flight");
    forget(context, memory, found->second);
    context.allocations.erase(found);
    return CUDA_SUCCESS;
}

CudaResult host_alloc(void** memory, size_t bytes, unsigned) {
    VIN_STATE();
    *memory = aligned_alloc(alignment, padded(bytes));
    if (!*memory) return refuse(CUDA_ERROR_OUT_OF_MEMORY, "the host has no memory left");
    context.pinned[reinterpret_cast<uintptr_t>(*memory)] = bytes;
    return CUDA_SUCCESS;
}
CudaResult host_free(void* memory) {
    VIN_STATE();
    const auto found = context.pinned.find(reinterpret_cast<uintptr_t>(memory));
    if (found == context.pinned.end())
        return refuse(CUDA_ERROR_INVALID_VALUE, "pinned memory is freed that was not allocated, or twice");
    if (in_flight(context, found->first))
        return poison(context, CUDA_ERROR_LAUNCH_FAILED, "pinned memory is freed in flight");
    context.pinned.erase(found);
    free(memory);
    return CUDA_SUCCESS;
}

// The allocation that [memory, memory + bytes) lies in; end: none.
std::map<uintptr_t, size_t>::const_iterator inside(const CUctx_st& context, CudaMemory memory, size_t bytes) {
    auto found = context.allocations.upper_bound(memory);
    if (found == context.allocations.begin()) return context.allocations.end();
    --found;
    const size_t offset = memory - found->first;
    return offset <= found->second && bytes <= found->second - offset ? found : context.allocations.end();
}

// From pinned memory a copy reads when its turn comes: who writes there before is found. Other memory is free on
// return, for which the driver may have to wait.
CudaResult copy_to_device(CudaMemory to, const void* from, size_t bytes, CudaStream stream) {
    VIN_STATE();
    const auto target = inside(context, to, bytes);
    if (target == context.allocations.end())
        return refuse(CUDA_ERROR_INVALID_VALUE, "a copy ends outside of its allocation");
    const auto pinned = holder(context.pinned, reinterpret_cast<uintptr_t>(from));
    std::vector<uintptr_t> uses = {target->first};
    if (pinned != context.pinned.end()) uses.push_back(pinned->first);
    const bool may_change = pinned != context.pinned.end();
    const char* source = static_cast<const char*>(from);
    const NodeRef node = enqueue(stream, uses, [=, kept = std::vector<char>(source, source + bytes)]() -> std::string {
        memcpy(reinterpret_cast<void*>(to), kept.data(), bytes);
        return may_change && memcmp(kept.data(), source, bytes) != 0
                   ? "host memory was written while a copy of " + std::to_string(bytes) + " bytes from it was in flight"
                   : "";
    });
    count[uploads]++;
    return pinned == context.pinned.end() && context.random() % 2 ? wait_for(lock, context, node) : CUDA_SUCCESS;
}
// Pinned memory holds NaNs until the copy's turn comes; other memory is waited for.
CudaResult copy_to_host(void* to, CudaMemory from, size_t bytes, CudaStream stream) {
    VIN_STATE();
    const auto source = inside(context, from, bytes);
    if (source == context.allocations.end())
        return refuse(CUDA_ERROR_INVALID_VALUE, "a copy begins or ends outside of its allocation");
    const auto pinned = holder(context.pinned, reinterpret_cast<uintptr_t>(to));
    std::vector<uintptr_t> uses = {source->first};
    if (pinned != context.pinned.end()) {
        uses.push_back(pinned->first);
        memset(to, 0xFF, bytes);
    }
    const NodeRef node = enqueue(stream, uses, [=]() -> std::string {
        memcpy(to, reinterpret_cast<const void*>(from), bytes);
        return "";
    });
    count[downloads]++;
    return pinned == context.pinned.end() ? wait_for(lock, context, node) : CUDA_SUCCESS;
}
CudaResult fill_bytes(CudaMemory to, unsigned char value, size_t bytes, CudaStream stream) {
    VIN_STATE();
    const auto target = inside(context, to, bytes);
    if (target == context.allocations.end())
        return refuse(CUDA_ERROR_INVALID_VALUE, "a fill ends outside of its allocation");
    enqueue(stream, {target->first}, [=]() -> std::string {
        memset(reinterpret_cast<void*>(to), value, bytes);
        return "";
    });
    return CUDA_SUCCESS;
}

// ---- streams and events ----

CudaResult stream_create(CudaStream* stream, unsigned) {
    VIN_STATE();
    *stream = new CUstream_st{&context, context.streams++, nullptr};
    return CUDA_SUCCESS;
}
// What the stream still holds runs first.
CudaResult stream_destroy(CudaStream stream) {
    std::unique_lock<std::mutex> lock(mutex);
    const CudaResult result = finish(lock, *stream->context, stream->last);
    delete stream;
    return result;
}
CudaResult stream_synchronize(CudaStream stream) {
    VIN_STATE();
    return wait_for(lock, context, stream->last);
}
CudaResult stream_wait_event(CudaStream stream, CudaEvent event, unsigned) {
    VIN_STATE();
    count[stream_waits]++;
    if (++context.waits == context.dropped_wait) return CUDA_SUCCESS;
    if (!event->node || event->node->done) return CUDA_SUCCESS;
    enqueue(stream, {}, nullptr)->after.push_back(event->node);
    return CUDA_SUCCESS;
}
CudaResult event_create(CudaEvent* event, unsigned) {
    VIN_STATE();
    *event = new CUevent_st{&context, nullptr};
    return CUDA_SUCCESS;
}
CudaResult event_record(CudaEvent event, CudaStream stream) {
    VIN_STATE();
    event->node = enqueue(stream, {}, nullptr);
    return CUDA_SUCCESS;
}
CudaResult event_query(CudaEvent event) {
    VIN_STATE();
    return !event->node || event->node->done ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}
CudaResult event_synchronize(CudaEvent event) {
    VIN_STATE();
    return wait_for(lock, context, NodeRef(event->node));
}
CudaResult event_destroy(CudaEvent event) {
    std::lock_guard<std::mutex> lock(mutex);
    delete event;
    return CUDA_SUCCESS;
}

// ---- launches ----

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

// What a kernel may use: the allocations that a word of its arguments points into.
void add_uses(const CUctx_st& context, const void* argument, size_t bytes, std::vector<uintptr_t>& uses) {
    for (size_t at = 0; at + sizeof(uintptr_t) <= bytes; at += sizeof(uintptr_t)) {
        uintptr_t word;
        memcpy(&word, static_cast<const char*>(argument) + at, sizeof word);
        const auto found = holder(context.allocations, word);
        if (found != context.allocations.end()) uses.push_back(found->first);
    }
}

CudaResult launch(CudaFunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                  unsigned block_y, unsigned block_z, unsigned shared_bytes, CudaStream stream, void** parameters,
                  void**) {
    VIN_STATE();
    const KernelEntry& kernel = *function->kernel;
    const Index3 grid = {grid_x, grid_y, grid_z}, block = {block_x, block_y, block_z};
    if (const std::string text = limits(*function, grid, block, shared_bytes); !text.empty())
        return refuse(CUDA_ERROR_INVALID_VALUE, std::string(kernel.name) + ": " + text);
    const uint64_t number = ++context.launches;
    if (number == context.lost_at) return poison(context, CUDA_ERROR_UNKNOWN, "the device is lost, as was asked for");
    // Arguments are the launch's own from here on, wherever the caller kept them.
    std::vector<std::shared_ptr<max_align_t[]>> copies;
    std::vector<uintptr_t> uses;
    for (int i = 0; i < kernel.parameters; i++) {
        copies.emplace_back(new max_align_t[kernel.bytes[i] / sizeof(max_align_t) + 1]);
        memcpy(copies.back().get(), parameters[i], kernel.bytes[i]);
        add_uses(context, parameters[i], kernel.bytes[i], uses);
    }
    const unsigned delay = context.delay;
    const bool faults = number == context.failing_launch;
    enqueue(stream, std::move(uses), [=, &kernel]() -> std::string {
        if (delay) usleep(delay);
        if (faults) return std::string(kernel.name) + " faults, as was asked for";
        std::vector<void*> arguments;
        for (const auto& copy : copies) arguments.push_back(copy.get());
        return run_launch({&kernel, arguments.data(), grid, block, shared_bytes}, *schedule, number);
    })->launch = true;
    count[launches]++;
    return CUDA_SUCCESS;
}

CudaResult error_text(CudaResult, const char** text) {
    static thread_local std::string kept;
    std::lock_guard<std::mutex> lock(mutex);
    kept = report;
    *text = kept.c_str();
    return CUDA_SUCCESS;
}

const char* fill(Driver& driver) {
    const std::string wanted = environment("VIN_EMU_ARCH", "80");
    for (const Architecture& each : architectures)
        if (wanted == each.name) architecture = &each;
    if (!architecture) return "Expected 75, 80, 86, 89, 90, 100 or 120 for VIN_EMU_ARCH";
    schedule = std::make_unique<Schedule>(environment("VIN_EMU_SCHED", "rr"));
    if (!schedule->valid()) return "Expected rr, reverse or random:<seed> for VIN_EMU_SCHED";
    devices = atoi(environment("VIN_EMU_DEVICES", "1"));
    if (devices < 0 || devices > most_devices) return "Expected from 0 to 16 for VIN_EMU_DEVICES";
    if (const char* path = environment("VIN_EMU_COUNTERS", nullptr)) {
        const int file = open(path, O_RDWR | O_CREAT, 0600);
        void* shared = file >= 0 && ftruncate(file, sizeof own_counts) == 0
                           ? mmap(nullptr, sizeof own_counts, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)
                           : MAP_FAILED;
        if (file >= 0) close(file);
        if (shared == MAP_FAILED) return "Expected a file to write for VIN_EMU_COUNTERS";
        count = static_cast<uint64_t*>(shared);
    }
#define VIN_DRIVER_FILL(field, symbol, parameters) driver.field = field;
    VIN_DRIVER_TABLE(VIN_DRIVER_FILL)
#undef VIN_DRIVER_FILL
    driver.image_of = [](const char*) -> const void* { return image; };
    driver.name = "cuda-emu";
    driver.build = architecture->name;
    return nullptr;
}

}  // namespace

std::string describe_address(uintptr_t address) {
    std::lock_guard<std::mutex> lock(mutex);
    for (const CUctx_st& context : contexts)
        for (const auto* ranges : {&context.allocations, &context.freed}) {
            auto found = ranges->upper_bound(address);
            if (found == ranges->begin()) continue;
            --found;
            const size_t offset = address - found->first, end = mapped(padded(found->second)) + page;
            if (offset >= end) continue;
            if (ranges == &context.freed && offset < found->second) return "memory that was freed";
            if (offset >= found->second)
                return std::to_string(offset - found->second) + " bytes behind an allocation of " +
                       std::to_string(found->second);
        }
    return "no memory of the device";
}

}  // namespace emu
}  // namespace vin

namespace vin {
namespace cuda {

const Driver* open_driver(const Refusal** refusal) {
    static Driver driver = {};
    static const Refusal found = [] {
        Refusal found = {VIN_OK, ""};
        if (const char* problem = emu::fill(driver)) {
            found.status = VIN_NO_DRIVER;
            snprintf(found.text, sizeof found.text, "%s", problem);
        }
        return found;
    }();
    *refusal = &found;
    return found.status == VIN_OK ? &driver : nullptr;
}

const Driver* start_driver(const Refusal** refusal) { return open_driver(refusal); }

}  // namespace cuda
}  // namespace vin
