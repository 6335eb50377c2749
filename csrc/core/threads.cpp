#include "threads.h"

#include <algorithm>

namespace vin {

// A thread that finds nothing to do watches for about 50 µs before it sleeps: ops follow one another faster than a wake-up takes. It never yields instead:
// on a busy machine that hands a whole time slice to somebody else, once per op.
static constexpr int spins_before_sleep = 2000;

static void pause() { __builtin_ia32_pause(); }

Threads::Threads(int count) {
    for (int i = 1; i < count; i++) workers_.emplace_back([this] { work(); });
}

Threads::~Threads() {
    {
        std::lock_guard<std::mutex> lock(mutex_);
        stop_ = true;
    }
    version_++;
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
}

void Threads::drain(Job& job) {
    for (;;) {
        const int64_t task = job.next.fetch_add(1, std::memory_order_relaxed);
        if (task >= job.tasks) return;
        job.body(job.context, task);
        if (job.done.fetch_add(1, std::memory_order_acq_rel) + 1 == job.tasks) {
            std::lock_guard<std::mutex> lock(mutex_);
            finished_.notify_all();
        }
    }
}

void Threads::parallel(int64_t tasks, void (*body)(void*, int64_t), void* context) {
    if (tasks <= 1 || workers_.empty()) {
        for (int64_t task = 0; task < tasks; task++) body(context, task);
        return;
    }
    Job job;
    job.body = body;
    job.context = context;
    job.tasks = tasks;
    {
        std::lock_guard<std::mutex> lock(mutex_);
        jobs_.push_back(&job);
    }
    version_.fetch_add(1, std::memory_order_release);
    wake_.notify_all();
    drain(job);
    for (int i = 0; i < spins_before_sleep && job.done.load(std::memory_order_acquire) < tasks; i++) pause();
    std::unique_lock<std::mutex> lock(mutex_);
    jobs_.erase(std::remove(jobs_.begin(), jobs_.end(), &job), jobs_.end());
    // The job lies on this stack: it may go when all tasks have run and no worker looks at it.
    finished_.wait(lock, [&] { return job.users == 0 && job.done.load(std::memory_order_acquire) == tasks; });
}

void Threads::work() {
    for (;;) {
        const uint64_t seen = version_.load(std::memory_order_acquire);
        Job* job = nullptr;
        {
            std::lock_guard<std::mutex> lock(mutex_);
            if (stop_) return;
            for (Job* candidate : jobs_)
                if (candidate->next.load(std::memory_order_relaxed) < candidate->tasks) {
                    job = candidate;
                    job->users++;
                    break;
                }
        }
        if (job) {
            drain(*job);
            std::lock_guard<std::mutex> lock(mutex_);
            if (--job->users == 0) finished_.notify_all();
            continue;
        }
        int spins = 0;
        while (version_.load(std::memory_order_acquire) == seen && spins++ < spins_before_sleep) pause();
        if (version_.load(std::memory_order_acquire) != seen) continue;
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return stop_ || version_.load(std::memory_order_acquire) != seen; });
    }
}

}  // namespace vin
