#include "threads.h"

#include <algorithm>
#include <chrono>
#include <system_error>

namespace vin {

// A thread that finds nothing to do watches for this long before it sleeps: ops follow one another faster than a
// wake-up takes. It never yields instead: on a busy machine that hands a whole time slice to somebody else, once per
// op.
static constexpr std::chrono::microseconds watch_before_sleep{50};

// Leaves the core to its other hardware thread for a moment. On ARM `yield` does nothing where there is no such thread;
// `isb` waits about as long as x86's pause.
static void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

// How long a pause takes differs a hundredfold between processors, so the clock is read, but only after a first
// look that needs no clock.
template <class Done>
static void watch(const Done& done) {
    for (int i = 0; i < 32; i++, pause())
        if (done()) return;
    const auto end = std::chrono::steady_clock::now() + watch_before_sleep;
    while (std::chrono::steady_clock::now() < end)
        for (int i = 0; i < 16; i++, pause())
            if (done()) return;
}

// The mutex is held for a few instructions, and threads that finish a job want it at the same moment: sleeping for it
// would cost more than the job.
static std::unique_lock<std::mutex> acquire(std::mutex& mutex) {
    std::unique_lock<std::mutex> lock(mutex, std::try_to_lock);
    for (int i = 0; i < 100 && !lock.owns_lock(); i++) {
        pause();
        (void)lock.try_lock();
    }
    if (!lock.owns_lock()) lock.lock();
    return lock;
}

// Threads that a system at its limit (ulimit -u, the cgroup's pids) keeps for others: the engine's own, and those of
// libuv, which ends the process without them.
static constexpr int left_for_others = 6;

static void end(std::vector<std::thread>& workers, std::mutex& mutex, std::condition_variable& wake,
                std::atomic<uint64_t>& version, bool& stop) {
    {
        std::lock_guard<std::mutex> lock(mutex);
        stop = true;
        version++;
    }
    wake.notify_all();
    for (std::thread& worker : workers) worker.join();
    workers.clear();
}

Threads::Threads(int count) {
    const auto start = [this](int workers) {
        workers_.reserve(static_cast<size_t>(std::max(0, workers)));
        try {
            for (int i = 1; i <= workers; i++) workers_.emplace_back([this, i] { work(i); });
        } catch (const std::system_error&) { return false; }
        return true;
    };
    if (start(count - 1)) return;
    // Fewer threads do the same work; count() says how many there are.
    const int fewer = static_cast<int>(workers_.size()) - left_for_others;
    end(workers_, mutex_, wake_, version_, stop_);
    stop_ = false;
    start(fewer);
}

Threads::~Threads() { end(workers_, mutex_, wake_, version_, stop_); }

// Which part of a job this thread begins with; threads that are not the pool's share the first.
static thread_local int lane = 0;

Threads::Job::Job(void (*body)(void*, int64_t), void* context, int64_t tasks, int parts)
    : body(body), context(context), parts(parts) {
    for (int i = 0; i < parts; i++) {
        part[i].next.store(tasks * i / parts, std::memory_order_relaxed);
        part[i].end = tasks * (i + 1) / parts;
    }
}

bool Threads::Job::open() const {
    return std::any_of(part, part + parts,
                       [](const Part& p) { return p.next.load(std::memory_order_relaxed) < p.end; });
}

void Threads::Job::drain() {
    for (int i = 0; i < parts; i++) {
        Part& p = part[(lane + i) % parts];
        for (int64_t task; (task = p.next.fetch_add(1, std::memory_order_relaxed)) < p.end;) body(context, task);
    }
}

void Threads::parallel(int64_t tasks, void (*body)(void*, int64_t), void* context) {
    if (tasks <= 1 || workers_.empty()) {
        for (int64_t task = 0; task < tasks; task++) body(context, task);
        return;
    }
    Job job(body, context, tasks, (int)std::min<int64_t>(std::min(max_parts, count()), tasks));
    {
        const auto lock = acquire(mutex_);
        jobs_.push_back(&job);
        version_++;
    }
    wake_.notify_all();
    job.drain();
    // Every task has been begun. The job lies on this stack: it may go when no worker can find it and none is still at
    // it.
    {
        const auto lock = acquire(mutex_);
        jobs_.erase(std::find(jobs_.begin(), jobs_.end(), &job));
    }
    const auto left = [&] { return job.users.load(std::memory_order_acquire) == 0; };
    watch(left);
    if (left()) return;
    std::unique_lock<std::mutex> lock(mutex_);
    finished_.wait(lock, left);
}

void Threads::work(int index) {
    lane = index;
    std::unique_lock<std::mutex> lock(mutex_);
    while (!stop_) {
        const uint64_t seen = version_;
        const auto open = std::find_if(jobs_.begin(), jobs_.end(), [](const Job* job) { return job->open(); });
        if (open != jobs_.end()) {
            Job* const job = *open;
            job->users.fetch_add(1, std::memory_order_relaxed);
            lock.unlock();
            job->drain();
            lock = acquire(mutex_);
            // With the last user gone the job may be destroyed at once.
            if (job->users.fetch_sub(1, std::memory_order_release) == 1) finished_.notify_all();
            continue;
        }
        lock.unlock();
        watch([&] { return version_.load(std::memory_order_relaxed) != seen; });
        lock = acquire(mutex_);
        wake_.wait(lock, [&] { return stop_ || version_ != seen; });
    }
}

}  // namespace vin
