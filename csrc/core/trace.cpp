#include "trace.h"

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#else
#include <pthread.h>
#endif

#include "error.h"

namespace vin {

static long long thread_id() {
#if defined(__linux__)
    return syscall(SYS_gettid);
#else
    uint64_t id = 0;
    pthread_threadid_np(nullptr, &id);
    return static_cast<long long>(id);
#endif
}

Trace::Trace(const std::string& path) : file_(std::fopen(path.c_str(), "w")) {
    if (!file_)
        throw Error("VIN_DISK", concat("Expected to write the trace ", path, " but it cannot be opened"),
                    {{"file", path}});
    std::fputs("[\n", file_);
}

Trace::~Trace() {
    std::fputs("\n]\n", file_);
    std::fclose(file_);
}

void Trace::event(const char* name, int chunk, double start, double duration) {
    std::lock_guard<std::mutex> lock(mutex_);
    std::fprintf(
        file_,
        "%s{\"name\":\"%s\",\"ph\":\"X\",\"pid\":1,\"tid\":%lld,\"ts\":%.3f,\"dur\":%.3f,\"args\":{\"chunk\":%d}}",
        first_ ? "" : ",\n", name, thread_id(), start, duration, chunk);
    first_ = false;
    std::fflush(file_);
}

}  // namespace vin
