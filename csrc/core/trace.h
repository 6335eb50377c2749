// VIN_NATIVE_TRACE: a Chrome trace of ops (chrome://tracing, Perfetto): name, chunk, thread, start and duration in
// microseconds.
#pragma once
#include <chrono>
#include <cstdio>
#include <mutex>
#include <string>

namespace vin {

class Trace {
public:
    explicit Trace(const std::string& path);
    ~Trace();
    double now() const {
        return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin_).count();
    }
    void event(const char* name, int chunk, double start, double duration);

private:
    std::FILE* file_;
    std::mutex mutex_;
    bool first_ = true;
    std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace vin
