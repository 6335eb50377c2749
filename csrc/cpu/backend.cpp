// The CPU backend beside its kernels: memory, streams, device and the choice of an instruction set. A call has finished
// when it returns.
#include "../core/cpu_backend.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#include <sys/sysinfo.h>
#else
#include <sys/sysctl.h>
#include <sys/types.h>
#endif

extern "C" vin_status vin_cpu_fail(vin_status status, const char* format, ...);

// As in isa.h, which belongs to the kernels.
struct vin_stream {
    const vin_host* host;
    void* pool;
};

namespace vin {
namespace cpu {

#define VIN_ISA(isa) \
    namespace isa { \
    void fill_table(vin_backend* backend); \
    double multiply_adds(int64_t rounds, float* value); \
    }
VIN_ISA(portable)
#if defined(__x86_64__)
VIN_ISA(avx2)
VIN_ISA(avx512)
#endif
#undef VIN_ISA

namespace {

struct Isa {
    const char* name;
    bool (*present)();
    void (*fill_table)(vin_backend* backend);
    double (*multiply_adds)(int64_t rounds, float* value);
};

bool always() { return true; }
#if defined(__x86_64__)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
#endif

// Worst first.
const Isa isas[] = {
    {"portable", always, portable::fill_table, portable::multiply_adds},
#if defined(__x86_64__)
    {"avx2", has_avx2, avx2::fill_table, avx2::multiply_adds},
    {"avx512", has_avx512, avx512::fill_table, avx512::multiply_adds},
#endif
};

thread_local char error_text[512];

const vin_host* cpu_host;

// The named instruction set of this machine, the best one without a name; NULL: it is missing.
const Isa* find_isa(const char* name) {
    const Isa* found = nullptr;
    for (const Isa& candidate : isas)
        if (candidate.present() && (!name || strcmp(name, candidate.name) == 0)) found = &candidate;
    return found;
}

vin_status device_count(int32_t* count) {
    *count = 1;
    return VIN_OK;
}

vin_status device_info(int32_t device, vin_device_info* info) {
    if (device != 0) return vin_cpu_fail(VIN_INVALID, "cpu: expected device 0, found %d", (int)device);
    memset(info, 0, sizeof *info);
    snprintf(info->name, sizeof info->name, "CPU");
    info->multiprocessors = (int32_t)sysconf(_SC_NPROCESSORS_ONLN);
    info->dtypes = 1u << VIN_DTYPE_F32;
#if defined(__linux__)
    struct sysinfo memory;
    if (sysinfo(&memory) == 0) {
        info->total_bytes = (uint64_t)memory.totalram * memory.mem_unit;
        info->free_bytes = ((uint64_t)memory.freeram + memory.bufferram) * memory.mem_unit;
    }
    // The page cache counts as free: MemAvailable knows it, sysinfo does not.
    if (FILE* file = fopen("/proc/meminfo", "r")) {
        char line[128];
        unsigned long long kilobytes;
        while (fgets(line, sizeof line, file))
            if (sscanf(line, "MemAvailable: %llu kB", &kilobytes) == 1) info->free_bytes = (uint64_t)kilobytes * 1024;
        fclose(file);
    }
#else
    uint64_t bytes = 0;
    size_t size = sizeof bytes;
    if (sysctlbyname("hw.memsize", &bytes, &size, nullptr, 0) == 0) info->total_bytes = info->free_bytes = bytes;
#endif
    return VIN_OK;
}

vin_status stream_open(int32_t device, void* pool, vin_stream** stream) {
    if (device != 0) return vin_cpu_fail(VIN_INVALID, "cpu: expected device 0, found %d", (int)device);
    *stream = new (std::nothrow) vin_stream{cpu_host, pool};
    return *stream ? (vin_status)VIN_OK : vin_cpu_fail(VIN_OUT_OF_MEMORY, "cpu: no memory for a stream");
}

vin_status stream_close(vin_stream* stream) {
    delete stream;
    return VIN_OK;
}

// What is on record has always come: an event is its stream.
vin_status event_open(vin_stream* stream, vin_event** event) {
    *event = reinterpret_cast<vin_event*>(stream);
    return VIN_OK;
}
vin_status stream_wait(vin_stream*) { return VIN_OK; }
vin_status event_close(vin_event*) { return VIN_OK; }
vin_status event_record(vin_event*, vin_stream*) { return VIN_OK; }
vin_status event_wait(vin_event*) { return VIN_OK; }
vin_status stream_after(vin_stream*, vin_event*) { return VIN_OK; }

// 64 bytes more than asked for, so that a whole vector may be read at the last element, and no request is for nothing.
// Arenas lie on huge pages where the system grants them on request: kernels stream through tens of megabytes, and small
// pages would cost a miss of the translation cache every 64 lines.
vin_status alloc(vin_stream*, size_t bytes, void** data) {
    constexpr size_t huge_page = size_t{1} << 21;
    const size_t unit = bytes >= 2 * huge_page ? huge_page : 64;
    const size_t padded = bytes > SIZE_MAX / 2 ? 0 : (bytes + 64 + unit - 1) / unit * unit;
    *data = padded ? aligned_alloc(unit, padded) : nullptr;
#if defined(__linux__)
    if (*data && unit == huge_page) madvise(*data, padded, MADV_HUGEPAGE);
#endif
    return *data ? (vin_status)VIN_OK : vin_cpu_fail(VIN_OUT_OF_MEMORY, "cpu: no memory for %zu bytes", bytes);
}

vin_status release(vin_stream*, void* data) {
    ::free(data);
    return VIN_OK;
}

vin_status transfer(vin_stream*, void* to, const void* from, size_t bytes) {
    if (bytes) memcpy(to, from, bytes);
    return VIN_OK;
}

const char* last_error() { return error_text; }

}  // namespace

}  // namespace cpu
}  // namespace vin

extern "C" vin_status vin_cpu_fail(vin_status status, const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(vin::cpu::error_text, sizeof vin::cpu::error_text, format, arguments);
    va_end(arguments);
    return status;
}

int vin_cpu_isas(const char** names) {
    int n = 0;
    for (const vin::cpu::Isa& isa : vin::cpu::isas)
        if (isa.present()) names[n++] = isa.name;
    return n;
}

vin_status vin_cpu_backend(const vin_host* host, const char* isa, vin_backend* backend) {
    using namespace vin::cpu;
    const Isa* chosen = find_isa(isa);
    if (!chosen)
        return vin_cpu_fail(VIN_NOT_SUPPORTED, "cpu: expected an instruction set of this machine, found %s", isa);
    cpu_host = host;
    memset(backend, 0, sizeof *backend);
    backend->abi = VIN_ABI;
    backend->size = sizeof *backend;
    backend->name = "cpu";
    backend->build = chosen->name;
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
    backend->alloc = alloc;
    backend->free = release;
    backend->upload = transfer;
    backend->download = transfer;
    backend->last_error = last_error;
    chosen->fill_table(backend);
    return VIN_OK;
}

double vin_cpu_multiply_adds(const char* isa, int64_t rounds) {
    const vin::cpu::Isa* chosen = vin::cpu::find_isa(isa);
    float value = 0.5f;
    return chosen ? chosen->multiply_adds(rounds, &value) : 0;
}
