// The engine's pool. parallel() may be called from inside a task: idle threads then help with the inner tasks, and the
// caller never waits for work that nobody has begun. Which thread runs a task is never visible in the results.
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
    explicit Threads(int count);  // the calling thread counts as one
    ~Threads();
    int count() const { return static_cast<int>(workers_.size()) + 1; }
    void parallel(int64_t tasks, void (*body)(void* context, int64_t task), void* context);

private:
    static constexpr int max_parts = 16;
    // Every thread begins with a part of its own, so that neighbouring tasks, and the same tasks of ops that follow,
    // find their data in its cache; then it helps with the others.
    struct Job {
        struct alignas(64) Part {
            std::atomic<int64_t> next;  // the first task that nobody has begun
            int64_t end;
        };
        Job(void (*body)(void*, int64_t), void* context, int64_t tasks, int parts);
        bool open() const;  // is there a task that nobody has begun?
        void drain();

        void (*body)(void*, int64_t);
        void* context;
        int parts;
        Part part[max_parts];
        std::atomic<int> users{0};  // workers at this job; rises and falls under mutex_
    };
    void work(int index);

    std::vector<std::thread> workers_;
    std::mutex mutex_;
    std::condition_variable wake_, finished_;
    std::vector<Job*> jobs_;            // oldest first: whole chunks before rows of one op
    std::atomic<uint64_t> version_{0};  // rises, under mutex_, with every new job
    bool stop_ = false;
};

}  // namespace vin
