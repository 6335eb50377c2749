// The engine's pool. parallel() may be called from inside a task: idle threads then help with the inner tasks, and the caller never waits for work that
// nobody has begun. Which thread runs a task is never visible in the results.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace vin {

class Threads {
public:
    explicit Threads(int count);             // the calling thread counts as one
    ~Threads();
    int count() const { return static_cast<int>(workers_.size()) + 1; }
    void parallel(int64_t tasks, void (*body)(void* context, int64_t task), void* context);

private:
    struct Job {
        void (*body)(void*, int64_t);
        void* context;
        int64_t tasks;
        std::atomic<int64_t> next{0}, done{0};
        int users = 0;                       // workers that hold a pointer to this job; guarded by mutex_
    };
    void work();
    void drain(Job& job);

    std::vector<std::thread> workers_;
    std::mutex mutex_;
    std::condition_variable wake_, finished_;
    std::vector<Job*> jobs_;                 // oldest first: whole chunks before rows of one op
    std::atomic<uint64_t> version_{0};
    bool stop_ = false;
};

}  // namespace vin
