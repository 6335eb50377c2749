// The engine: one backend, one stream, one thread that runs commands in order, and the worker threads ops split
// themselves over.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "arena.h"
#include "context.h"
#include "threads.h"
#include "trace.h"

namespace vin {

// Memory of handles and weights: blocks of the backend, kept for the next tensor of the same size. Any thread.
class PoolMemory : public Memory {
public:
    PoolMemory(const vin_backend* backend, vin_stream* stream, int32_t ordinal, uint64_t budget)
        : backend_(backend), stream_(stream), ordinal_(ordinal), budget_(budget) {}
    ~PoolMemory() override;
    void* take(size_t bytes) override;
    void give(void* data, size_t bytes) override;
    void trim();  // hands kept blocks back to the backend

    struct Stats {
        uint64_t bytes, peak, allocations;
    };
    Stats stats();

private:
    static size_t block(size_t bytes);
    void trim_locked();
    const vin_backend* backend_;
    vin_stream* stream_;
    const int32_t ordinal_;
    const uint64_t budget_;  // 0: what the device has
    std::mutex mutex_;
    std::unordered_map<size_t, std::vector<void*>> kept_;
    uint64_t kept_bytes_ = 0, bytes_ = 0, peak_ = 0, allocations_ = 0;
};

struct EngineOptions {
    std::string device = "cpu";  // "cuda:1": the second of a plug-in's devices
    std::string isa, backend_path, trace;
    int threads = 1;
    uint64_t memory_budget = 0;  // bytes; 0: as much as the device has
};

class Engine {
public:
    explicit Engine(const EngineOptions& options);
    ~Engine();  // cancels what runs, drops what waits, joins
    Engine(const Engine&) = delete;

    // Runs `work` on the engine's thread after everything submitted before. Work must not throw.
    void submit(std::shared_ptr<Cancel> cancel, std::function<void()> work);

    // On the engine's thread: `fn` on the plan backend, then for real inside one block of exactly the planned size.
    void planned(const Cancel* cancel, int tasks_in_flight, const std::function<void(Ops&)>& fn);
    // The same; the plan is kept by its key, and the next call of the same key needs no dry run.
    void planned(PlanKey key, const Cancel* cancel, int tasks_in_flight, const std::function<void(Ops&)>& fn);
    // On the engine's thread: ops whose tensors come from the pool.
    Ops direct(const Cancel* cancel);
    // Any thread: peak bytes of `fn` on the plan backend.
    size_t plan_bytes(int tasks_in_flight, const std::function<void(Ops&)>& fn) const;

    void upload(void* device, const void* host, size_t bytes);
    void download(void* host, const void* device, size_t bytes);

    const std::shared_ptr<PoolMemory>& memory() const { return memory_; }
    const vin_backend& backend() const { return backend_; }
    int threads() const { return threads_.count(); }
    uint64_t commands() const { return commands_.load(); }
    uint64_t dry_runs() const { return dry_runs_.load(); }
    void release();  // engine's thread: gives the arena, kept plans and kept blocks back
    void stop();     // cancels what runs and waits, then joins

private:
    struct Command {
        std::shared_ptr<Cancel> cancel;
        std::function<void()> work;
    };
    void loop();
    Ops base(const Cancel* cancel) const;
    ArenaPlan dry_run(const Cancel* cancel, int tasks_in_flight, const std::function<void(Ops&)>& fn);
    void run(const ArenaPlan& plan, const Cancel* cancel, int tasks_in_flight, const std::function<void(Ops&)>& fn);

    Threads threads_;
    vin_host host_;
    vin_backend backend_;
    vin_stream* stream_ = nullptr;
    std::shared_ptr<PoolMemory> memory_;
    std::unique_ptr<Trace> trace_;
    std::shared_ptr<Storage> arena_;                  // grown to the largest plan seen
    std::list<std::pair<PlanKey, ArenaPlan>> plans_;  // kept ones, the last used first
    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<Command> queue_;
    std::shared_ptr<Cancel> running_;
    Cancel default_cancel_;
    bool stopping_ = false;
    std::atomic<uint64_t> commands_{0}, dry_runs_{0};
    std::thread thread_;
};

}  // namespace vin
