// The engine: one backend, one thread that runs commands in order, and the worker threads ops split themselves over.
// Of an asynchronous backend that thread only queues; a second one waits for the device and ends the commands.
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
#include "error.h"
#include "threads.h"
#include "trace.h"

namespace vin {

// Memory of handles and weights: blocks of the backend, kept for the next tensor of the same size. Any thread. What is
// queued runs in order, so a block given back may be taken again at once; what goes back to an asynchronous backend is
// listed, and the engine's thread frees it when nothing that is queued uses it.
class PoolMemory : public Memory {
public:
    struct Blocks {
        std::vector<void*> data;
        size_t bytes = 0;
    };
    PoolMemory(const vin_backend* backend, vin_stream* stream, int32_t ordinal, uint64_t budget)
        : backend_(backend), stream_(stream), ordinal_(ordinal), budget_(budget) {}
    ~PoolMemory() override;
    void* take(size_t bytes) override;
    void give(void* data, size_t bytes) override;
    void trim();  // hands kept blocks back to the backend

    // Of an asynchronous backend: `listed` is told of a block that waits to be freed; `settle` frees all that wait, on
    // the engine's thread, and does nothing on others.
    std::function<void()> listed, settle;
    bool has_listed() const { return has_listed_.load(); }
    Blocks take_listed();
    void free(const Blocks& blocks);
    // The device is gone, and all memory with it: whoever asks for some gets this error.
    void abandon(const Error& error);

    struct Stats {
        uint64_t bytes, peak, allocations;
    };
    Stats stats();
    uint64_t room();  // bytes that may still be taken

private:
    static size_t block(size_t bytes);
    void give_back_locked(void* data, size_t size);
    void trim_locked();
    const vin_backend* backend_;
    vin_stream* stream_;
    const int32_t ordinal_;
    const uint64_t budget_;     // 0: what the device has
    std::mutex backend_mutex_;  // held while the backend allocates; taken before mutex_
    std::mutex mutex_;
    std::unordered_map<size_t, std::vector<void*>> kept_;
    Blocks listed_;
    std::atomic<bool> has_listed_{false};
    std::unique_ptr<const Error> gone_;
    uint64_t kept_bytes_ = 0, leaving_bytes_ = 0, bytes_ = 0, peak_ = 0, allocations_ = 0;
};

struct EngineOptions {
    std::string device = "cpu";  // "cuda:1": the second of a plug-in's devices
    std::string isa, backend_path, trace;
    int threads = 1;
    uint64_t memory_budget = 0;  // bytes; 0: 80 % of what is free on a device of its own, else no bound
};

using Failure = std::shared_ptr<const Error>;

// What every backend gets of its host: plug-ins keep the pointer.
extern const vin_host host_functions;

class Engine : private Flow {
public:
    explicit Engine(const EngineOptions& options);
    ~Engine();  // cancels what runs, drops what waits, joins
    Engine(const Engine&) = delete;

    // Runs `work` on the engine's thread after everything submitted before, then `done` on a thread of the engine: with
    // what `work` threw, at once; or when the device has done what was queued, with null or what made it fail.
    void submit(std::shared_ptr<Cancel> cancel, std::function<void()> work, std::function<void(Failure)> done);

    // On the engine's thread: `fn` on the plan backend, then for real inside one block of exactly the planned size.
    void planned(const Cancel* cancel, int tasks_in_flight, const std::function<void(Ops&)>& fn);
    // The same; the plan is kept by its key, and the next call of the same key needs no dry run.
    void planned(PlanKey key, const Cancel* cancel, int tasks_in_flight, const std::function<void(Ops&)>& fn);
    // On the engine's thread: ops whose tensors come from the pool.
    Ops direct(const Cancel* cancel);
    // Any thread: peak bytes of `fn` on the plan backend.
    size_t plan_bytes(int tasks_in_flight, const std::function<void(Ops&)>& fn) const;

    // Inside a command. upload: `host` is free again on return.
    void upload(void* device, const void* host, size_t bytes);
    // `host` holds the bytes when what is then given to `after` runs, which is before the command ends; what that
    // throws fails the command.
    void fetch(void* host, const void* device, size_t bytes);
    void after(std::function<void()> fn);
    // Waits for the bytes.
    void download(void* host, const void* device, size_t bytes);

    const std::shared_ptr<PoolMemory>& memory() const { return memory_; }
    const vin_backend& backend() const { return backend_; }
    const vin_device_info& device() const { return device_; }  // as it was found; of the CPU only zeros
    int threads() const { return threads_.count(); }
    uint64_t commands() const { return commands_.load(); }
    uint64_t dry_runs() const { return dry_runs_.load(); }
    uint64_t uploads() const { return uploads_.load(); }
    uint64_t waits() const { return waits_.load(); }   // of the engine's thread for the device
    bool is_lost() const { return has_lost_.load(); }  // a device error has ended it
    void release();  // engine's thread: gives the arena, kept plans and kept blocks back
    void stop();     // cancels what runs and waits, then joins

private:
    struct Command {
        std::shared_ptr<Cancel> cancel;
        std::function<void()> work;
        std::function<void(Failure)> done;
    };
    // What happens when the device has come so far.
    struct Milestone {
        std::vector<vin_event*> events;
        std::vector<std::function<void()>> after;
        std::vector<std::pair<void*, size_t>> pinned;  // free again behind `after`
        PoolMemory::Blocks leaving;
        bool pace = false;
        std::function<void(Failure)> done;
    };
    void loop();
    Failure run(const std::function<void()>& work);
    void end(Failure failure, std::function<void(Failure)> done);
    void check(vin_status status) const;

    void complete();
    void queue(Milestone milestone);
    void queued(vin_stream* stream, const Cancel* cancel) override;
    Tensor constant(const Ops& ops, const void* values, size_t bytes, const Shape& shape, int32_t dtype) override;
    int64_t streams() const override { return streams_; }
    std::vector<vin_stream*> fork(int64_t streams) override;
    void join(const std::vector<vin_stream*>& streams) noexcept override;
    void follow(const std::vector<vin_stream*>& later, vin_stream* earlier);
    void forget_constants();
    vin_event* recorded(vin_stream* stream);
    void settle();
    void free_left();
    void free_pinned();
    std::pair<void*, size_t> take_pinned(size_t bytes);
    Failure lost();
    Failure lose(Failure failure);
    void close_lost_device();
    void close_streams();

    Ops base(const Cancel* cancel) const;
    struct Plan {
        ArenaPlan arena;
        int tasks_in_flight;
    };
    Plan dry_run(const Cancel* cancel, int tasks_in_flight, const std::function<void(Ops&)>& fn);
    void run(const Plan& plan, const Cancel* cancel, const std::function<void(Ops&)>& fn);

    Threads threads_;
    vin_backend backend_;
    const int32_t ordinal_;
    vin_device_info device_ = {};
    int64_t streams_ = 1;
    vin_stream* stream_ = nullptr;  // null: closed
    std::shared_ptr<PoolMemory> memory_;
    std::unique_ptr<Trace> trace_;
    std::shared_ptr<Storage> arena_;             // grown to the largest plan seen
    std::list<std::pair<PlanKey, Plan>> plans_;  // kept ones, the last used first
    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<Command> queue_;
    std::shared_ptr<Cancel> running_;
    Cancel default_cancel_;
    bool stopping_ = false;
    std::atomic<uint64_t> commands_{0}, dry_runs_{0}, uploads_{0}, waits_{0};

    // ---- of an asynchronous backend; the engine's thread ----
    Milestone current_;                        // of the command that is being queued
    std::vector<vin_stream*> busy_;            // with ops behind the last milestone
    int since_ = 0;                            // ops behind the last pace
    std::vector<vin_stream*> lanes_, forked_;  // of tasks: all, and those that run ahead of the engine's own
    std::unordered_map<std::string, std::shared_ptr<Storage>> constants_;  // by dtype and values
    std::shared_ptr<Storage> slab_;                                        // where the next small ones go
    size_t slab_used_ = 0, constant_bytes_ = 0;
    // ---- between the two threads ----
    std::mutex flight_mutex_;
    std::condition_variable arrived_, reached_;
    std::deque<Milestone> flight_;
    int ahead_ = 0, paces_ = 0;  // milestones not reached, and those of them that are paces
    bool queued_all_ = false;
    Failure lost_;
    std::atomic<bool> has_lost_{false};
    std::vector<vin_event*> events_;  // to be used again
    std::unordered_map<size_t, std::vector<void*>> pinned_;
    size_t pinned_bytes_ = 0;
    PoolMemory::Blocks left_;  // to be freed by the engine's thread
    std::atomic<bool> has_left_{false};

    std::thread thread_, completion_;
};

}  // namespace vin
