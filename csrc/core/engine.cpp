#include "engine.h"

#include <algorithm>
#include <cstdlib>
#include <system_error>

#include "backends.h"
#include "plan_backend.h"

namespace vin {

// Blocks kept for reuse, at most; latents and frames of ordinary videos fit many times over.
static constexpr uint64_t kept_limit = uint64_t(64) << 20;

// Plans kept: a run has one for its evaluations, and few for text and frames.
static constexpr size_t plans_at_most = 8;

size_t PoolMemory::block(size_t bytes) { return (bytes + 4095) / 4096 * 4096 + (bytes == 0 ? 4096 : 0); }

PoolMemory::~PoolMemory() { trim(); }

void* PoolMemory::take(size_t bytes) {
    const size_t size = block(bytes);
    std::lock_guard<std::mutex> lock(mutex_);
    auto kept = kept_.find(size);
    void* data = nullptr;
    if (kept != kept_.end() && !kept->second.empty()) {
        data = kept->second.back();
        kept->second.pop_back();
        kept_bytes_ -= size;
    } else {
        const auto refuse = [&](uint64_t free) {
            throw Error("VIN_OUT_OF_MEMORY",
                        "Expected " + std::to_string(size) + " bytes of memory but only " + std::to_string(free) +
                            " are free; ask for a smaller or shorter video, or raise memoryBudget",
                        {{"asked", std::to_string(size)}, {"free", std::to_string(free)}});
        };
        if (budget_ && bytes_ + size > budget_) refuse(budget_ > bytes_ ? budget_ - bytes_ : 0);
        if (budget_ && bytes_ + kept_bytes_ + size > budget_) trim_locked();
        if (backend_->alloc(stream_, size, &data) != VIN_OK) {
            trim_locked();
            if (backend_->alloc(stream_, size, &data) != VIN_OK) {
                vin_device_info info = {};
                backend_->device_info(ordinal_, &info);
                refuse(info.free_bytes);
            }
        }
        allocations_++;
    }
    bytes_ += size;
    if (bytes_ + kept_bytes_ > peak_) peak_ = bytes_ + kept_bytes_;
    return data;
}

void PoolMemory::give(void* data, size_t bytes) {
    const size_t size = block(bytes);
    std::lock_guard<std::mutex> lock(mutex_);
    bytes_ -= size;
    if (kept_bytes_ + size > kept_limit) {
        backend_->free(stream_, data);
        return;
    }
    kept_[size].push_back(data);
    kept_bytes_ += size;
}

void PoolMemory::trim() {
    std::lock_guard<std::mutex> lock(mutex_);
    trim_locked();
}

void PoolMemory::trim_locked() {
    for (auto& entry : kept_)
        for (void* data : entry.second) backend_->free(stream_, data);
    kept_.clear();
    kept_bytes_ = 0;
}

PoolMemory::Stats PoolMemory::stats() {
    std::lock_guard<std::mutex> lock(mutex_);
    return {bytes_, peak_, allocations_};
}

static void* host_scratch(int32_t slot, size_t bytes) {
    struct Slots {
        void* data[16] = {};
        size_t size[16] = {};
        ~Slots() {
            for (void* block : data) std::free(block);
        }
    };
    static thread_local Slots slots;
    if (slots.size[slot] < bytes) {
        std::free(slots.data[slot]);
        const size_t size = (bytes + 4095) / 4096 * 4096;
        slots.data[slot] = std::aligned_alloc(64, size);
        slots.size[slot] = slots.data[slot] ? size : 0;
    }
    return slots.data[slot];
}

static void host_parallel(void* pool, int64_t tasks, void (*body)(void*, int64_t), void* context) {
    static_cast<Threads*>(pool)->parallel(tasks, body, context);
}

// The N of a device "cuda:N", else 0.
static int32_t ordinal_of(const std::string& device) {
    const size_t colon = device.rfind(':');
    return colon == std::string::npos ? 0 : static_cast<int32_t>(std::strtol(device.c_str() + colon + 1, nullptr, 10));
}

Engine::Engine(const EngineOptions& options)
    : threads_(options.threads), host_{host_parallel, host_scratch},
      backend_(open_backend(host_, options.device, options.isa, options.backend_path)) {
    const int32_t ordinal = ordinal_of(options.device);
    const vin_status status = backend_.stream_open(ordinal, &threads_, &stream_);
    if (status != VIN_OK) throw refusal(backend_, status, options.backend_path);
    memory_ = std::make_shared<PoolMemory>(&backend_, stream_, ordinal, options.memory_budget);
    if (!options.trace.empty()) trace_ = std::make_unique<Trace>(options.trace);
    try {
        thread_ = std::thread([this] { loop(); });
        // A second thread, to see that there is room: Node ends the process when it cannot start one that it needs.
        std::thread([] {}).join();
    } catch (const std::system_error& refused) {
        stop();
        trace_.reset();
        memory_.reset();
        backend_.stream_close(stream_);
        throw Error("VIN_OUT_OF_MEMORY", std::string("Expected a thread for the engine but the system gives none: ") +
                                             refused.what() +
                                             "; raise the limit of processes (ulimit -u, or pids of the container)");
    }
}

Engine::~Engine() {
    stop();
    arena_.reset();
    memory_.reset();
    backend_.stream_close(stream_);
}

void Engine::stop() {
    {
        std::lock_guard<std::mutex> lock(mutex_);
        stopping_ = true;
        default_cancel_.requested = true;
        if (running_) running_->requested = true;
        for (Command& command : queue_)
            if (command.cancel) command.cancel->requested = true;
    }
    wake_.notify_all();
    if (thread_.joinable()) thread_.join();
}

void Engine::submit(std::shared_ptr<Cancel> cancel, std::function<void()> work) {
    {
        std::lock_guard<std::mutex> lock(mutex_);
        if (stopping_) throw Error("VIN_DISPOSED", "Expected an open engine but it was disposed");
        queue_.push_back({std::move(cancel), std::move(work)});
    }
    wake_.notify_one();
}

void Engine::loop() {
    for (;;) {
        Command command;
        {
            std::unique_lock<std::mutex> lock(mutex_);
            wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
            if (queue_.empty()) return;  // stopping: what waits still runs, and finds its cancel flag set
            command = std::move(queue_.front());
            queue_.pop_front();
            running_ = command.cancel;
        }
        command.work();
        commands_++;
        command = {};
        std::lock_guard<std::mutex> lock(mutex_);
        running_.reset();
    }
}

Ops Engine::base(const Cancel* cancel) const {
    Ops ops;
    ops.cancel = cancel ? cancel : &default_cancel_;
    ops.threads = const_cast<Threads*>(&threads_);
    return ops;
}

Ops Engine::direct(const Cancel* cancel) {
    Ops ops = base(cancel);
    ops.backend = &backend_;
    ops.stream = stream_;
    ops.memory = memory_;
    ops.trace = trace_.get();
    return ops;
}

static ArenaPlan plan_of(Ops ops, int tasks_in_flight, const std::function<void(Ops&)>& fn) {
    auto recording = std::make_shared<RecordingMemory>();
    ops.backend = plan_backend();
    ops.stream = nullptr;
    ops.memory = recording;
    ops.trace = nullptr;
    ops.tasks_in_flight = tasks_in_flight;
    fn(ops);
    ops.memory.reset();
    return std::move(recording->plan);
}

size_t Engine::plan_bytes(int tasks_in_flight, const std::function<void(Ops&)>& fn) const {
    return plan_of(base(nullptr), tasks_in_flight, fn).peak;
}

ArenaPlan Engine::dry_run(const Cancel* cancel, int tasks_in_flight, const std::function<void(Ops&)>& fn) {
    dry_runs_++;
    return plan_of(base(cancel), tasks_in_flight, fn);
}

void Engine::run(const ArenaPlan& plan, const Cancel* cancel, int tasks_in_flight,
                 const std::function<void(Ops&)>& fn) {
    if (!arena_ || arena_->bytes < plan.peak) {
        arena_.reset();  // before the larger one is asked for, and not kept: no later plan takes a block of this size
        memory_->trim();
        arena_ = std::make_shared<Storage>(memory_, plan.peak);
    }
    Ops ops = direct(cancel);
    ops.memory = std::make_shared<ReplayMemory>(plan, static_cast<char*>(arena_->data));
    ops.tasks_in_flight = tasks_in_flight;
    fn(ops);
}

void Engine::planned(const Cancel* cancel, int tasks_in_flight, const std::function<void(Ops&)>& fn) {
    run(dry_run(cancel, tasks_in_flight, fn), cancel, tasks_in_flight, fn);
}

void Engine::planned(PlanKey key, const Cancel* cancel, int tasks_in_flight, const std::function<void(Ops&)>& fn) {
    key.add(tasks_in_flight);
    const auto kept = std::find_if(plans_.begin(), plans_.end(), [&](const auto& entry) { return entry.first == key; });
    if (kept != plans_.end()) {
        plans_.splice(plans_.begin(), plans_, kept);
    } else {
        plans_.emplace_front(std::move(key), dry_run(cancel, tasks_in_flight, fn));
        if (plans_.size() > plans_at_most) plans_.pop_back();
    }
    run(plans_.front().second, cancel, tasks_in_flight, fn);
}

void Engine::release() {
    arena_.reset();
    plans_.clear();
    memory_->trim();
}

void Engine::upload(void* device, const void* host, size_t bytes) {
    if (backend_.upload(stream_, device, host, bytes) != VIN_OK) throw Error("VIN_DEVICE_ERROR", backend_.last_error());
}

void Engine::download(void* host, const void* device, size_t bytes) {
    if (backend_.download(stream_, host, device, bytes) != VIN_OK || backend_.stream_wait(stream_) != VIN_OK)
        throw Error("VIN_DEVICE_ERROR", backend_.last_error());
}

}  // namespace vin
