#include "engine.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <new>
#include <system_error>
#include <utility>

#include "backends.h"
#include "plan_backend.h"

namespace vin {

// Blocks kept for reuse, at most; latents and frames of ordinary videos fit many times over.
static constexpr uint64_t kept_limit = uint64_t(64) << 20;

// Plans kept: a run has one for its evaluations, and few for text and frames.
static constexpr size_t plans_at_most = 8;

// Of an asynchronous backend: an event every so many ops, and so many of them open at most.
static constexpr int ops_of_a_pace = 64, paces_at_most = 2;

// Pinned memory that downloads keep, at most.
static constexpr size_t pinned_limit = size_t(64) << 20;

// Constants kept on the device, at most, and the block that small ones share.
static constexpr size_t constants_limit = size_t(32) << 20, slab_bytes = size_t(256) << 10;

size_t PoolMemory::block(size_t bytes) { return (bytes + 4095) / 4096 * 4096 + (bytes == 0 ? 4096 : 0); }

PoolMemory::~PoolMemory() {
    trim();
    free(take_listed());
}

void* PoolMemory::take(size_t bytes) {
    const size_t size = block(bytes);
    std::unique_lock<std::mutex> lock(mutex_);
    auto kept = kept_.find(size);
    void* data = nullptr;
    if (kept != kept_.end() && !kept->second.empty()) {
        data = kept->second.back();
        kept->second.pop_back();
        kept_bytes_ -= size;
        bytes_ += size;
    } else {
        const auto refuse = [&](uint64_t free) {
            throw Error("VIN_OUT_OF_MEMORY",
                        "Expected " + std::to_string(size) + " bytes of memory but only " + std::to_string(free) +
                            " are free; ask for a smaller or shorter video, or raise memoryBudget",
                        {{"asked", std::to_string(size)}, {"free", std::to_string(free)}});
        };
        if (budget_ && bytes_ + size > budget_) refuse(budget_ > bytes_ ? budget_ - bytes_ : 0);
        bytes_ += size;
        // Whoever gives memory back meanwhile waits neither for the backend nor for the device.
        const auto make_room = [&] {
            trim_locked();
            if (!settle) return;
            lock.unlock();
            settle();
            lock.lock();
        };
        const auto allocate = [&]() -> vin_status {
            lock.unlock();
            std::unique_lock<std::mutex> backend(backend_mutex_);
            const vin_status status = gone_ ? (vin_status)VIN_DEVICE_ERROR : backend_->alloc(stream_, size, &data);
            backend.unlock();
            lock.lock();
            return status;
        };
        if (budget_ && bytes_ + kept_bytes_ + leaving_bytes_ > budget_) make_room();
        vin_status status = allocate();
        if (status == VIN_OUT_OF_MEMORY) {
            make_room();
            status = allocate();
        }
        if (status != VIN_OK) {
            bytes_ -= size;
            if (gone_) throw *gone_;
            if (status != VIN_OUT_OF_MEMORY) throw Error(code_of(status), backend_->last_error());
            vin_device_info info = {};
            backend_->device_info(ordinal_, &info);
            refuse(info.free_bytes);
        }
        allocations_++;
    }
    if (bytes_ + kept_bytes_ > peak_) peak_ = bytes_ + kept_bytes_;
    return data;
}

void PoolMemory::give(void* data, size_t bytes) {
    const size_t size = block(bytes);
    std::lock_guard<std::mutex> lock(mutex_);
    bytes_ -= size;
    if (gone_) return;
    if (kept_bytes_ + size > kept_limit) {
        give_back_locked(data, size);
        return;
    }
    kept_[size].push_back(data);
    kept_bytes_ += size;
}

void PoolMemory::trim() {
    std::lock_guard<std::mutex> lock(mutex_);
    trim_locked();
}

void PoolMemory::give_back_locked(void* data, size_t size) {
    if (!listed) {
        backend_->free(stream_, data);
        return;
    }
    listed_.data.push_back(data);
    listed_.bytes += size;
    leaving_bytes_ += size;
    has_listed_ = true;
    listed();
}

void PoolMemory::trim_locked() {
    for (auto& entry : kept_)
        for (void* data : entry.second) give_back_locked(data, entry.first);
    kept_.clear();
    kept_bytes_ = 0;
}

PoolMemory::Blocks PoolMemory::take_listed() {
    std::lock_guard<std::mutex> lock(mutex_);
    has_listed_ = false;
    return std::exchange(listed_, {});
}

void PoolMemory::free(const Blocks& blocks) {
    for (void* data : blocks.data) backend_->free(stream_, data);
    std::lock_guard<std::mutex> lock(mutex_);
    leaving_bytes_ -= blocks.bytes;
}

void PoolMemory::abandon(const Error& error) {
    std::lock_guard<std::mutex> backend(backend_mutex_);
    std::lock_guard<std::mutex> lock(mutex_);
    gone_ = std::make_unique<const Error>(error);
    kept_.clear();
    listed_ = {};
    has_listed_ = false;
    kept_bytes_ = leaving_bytes_ = 0;
}

PoolMemory::Stats PoolMemory::stats() {
    std::lock_guard<std::mutex> lock(mutex_);
    return {bytes_, peak_, allocations_};
}

uint64_t PoolMemory::room() {
    // Others may have filled a device since the budget was made of what was free there.
    const bool ask = !budget_ || backend_->asynchronous;
    vin_device_info info = {};
    if (ask) backend_->device_info(ordinal_, &info);
    std::lock_guard<std::mutex> lock(mutex_);
    const uint64_t device = ask ? info.free_bytes + kept_bytes_ + leaving_bytes_ : UINT64_MAX;
    return budget_ ? std::min(device, budget_ > bytes_ ? budget_ - bytes_ : 0) : device;
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

const vin_host host_functions = {host_parallel, host_scratch};

Engine::Engine(const EngineOptions& options)
    : threads_(options.threads),
      backend_(open_backend(host_functions, options.device, options.isa, options.backend_path)),
      ordinal_(ordinal_of(options.device)) {
    const vin_status status = backend_.stream_open(ordinal_, &threads_, &stream_);
    if (status != VIN_OK) throw refusal(backend_, status, options.backend_path);
    if (backend_.asynchronous) backend_.device_info(ordinal_, &device_);
    const uint64_t free_bytes = static_cast<uint64_t>(device_.free_bytes);
    memory_ = std::make_shared<PoolMemory>(&backend_, stream_, ordinal_,
                                           options.memory_budget ? options.memory_budget : free_bytes / 5 * 4);
    if (backend_.asynchronous) {
        streams_ = std::max(1, device_.streams);
        memory_->listed = [this] {
            { std::lock_guard<std::mutex> lock(mutex_); }
            wake_.notify_one();
        };
        memory_->settle = [this] { settle(); };
    }
    if (!options.trace.empty()) trace_ = std::make_unique<Trace>(options.trace);
    try {
        thread_ = std::thread([this] { loop(); });
        if (backend_.asynchronous) completion_ = std::thread([this] { complete(); });
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
    forget_constants();
    if (stream_) free_left();
    memory_.reset();
    close_streams();
}

void Engine::close_streams() {
    if (!stream_) return;
    for (vin_event* event : events_) backend_.event_close(event);
    events_.clear();
    free_pinned();
    for (vin_stream* lane : lanes_) backend_.stream_close(lane);
    lanes_.clear();
    backend_.stream_close(stream_);
    stream_ = nullptr;
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
    {
        std::lock_guard<std::mutex> lock(flight_mutex_);
        queued_all_ = true;
    }
    arrived_.notify_all();
    if (completion_.joinable()) completion_.join();
}

void Engine::submit(std::shared_ptr<Cancel> cancel, std::function<void()> work, std::function<void(Failure)> done) {
    {
        std::lock_guard<std::mutex> lock(mutex_);
        if (stopping_) throw Error("VIN_DISPOSED", "Expected an open engine but it was disposed");
        queue_.push_back({std::move(cancel), std::move(work), std::move(done)});
    }
    wake_.notify_one();
}

void Engine::loop() {
    const auto has_work = [this] {
        return stopping_ || !queue_.empty() || memory_->has_listed() || has_left_ || (has_lost_ && stream_);
    };
    for (;;) {
        Command command;
        {
            std::unique_lock<std::mutex> lock(mutex_);
            wake_.wait(lock, has_work);
            if (!queue_.empty()) {
                command = std::move(queue_.front());
                queue_.pop_front();
                running_ = command.cancel;
            } else if (stopping_) {
                return;  // what waited has run, and found its cancel flag set
            }
        }
        if (has_lost_) close_lost_device();
        free_left();
        if (command.work)
            end(run(command.work), std::move(command.done));
        else if (memory_->has_listed())
            queue({});
        command = {};
        std::lock_guard<std::mutex> lock(mutex_);
        running_.reset();
    }
}

static Failure failure_of(const std::function<void()>& work) {
    try {
        work();
        return nullptr;
    } catch (const Error& error) { return std::make_shared<Error>(error); } catch (const std::bad_alloc&) {
        return std::make_shared<Error>("VIN_OUT_OF_MEMORY", "Expected more memory than the host has");
    } catch (const std::exception& error) { return std::make_shared<Error>("VIN_DEVICE_ERROR", error.what()); }
}

Failure Engine::run(const std::function<void()>& work) {
    if (has_lost_) return lost();
    Failure failure = failure_of(work);
    return failure && backend_.asynchronous && failure->code == "VIN_DEVICE_ERROR" ? lose(failure) : failure;
}

void Engine::end(Failure failure, std::function<void(Failure)> done) {
    const auto now = [&] {
        commands_++;
        done(failure);
    };
    if (!backend_.asynchronous) return now();
    Milestone milestone = std::exchange(current_, {});
    if (!failure) {
        milestone.done = std::move(done);
        queue(std::move(milestone));
        return;
    }
    // Nothing that the device still does can change it.
    milestone.after.clear();
    now();
    if (!milestone.pinned.empty() || memory_->has_listed()) queue(std::move(milestone));
}

void Engine::after(std::function<void()> fn) {
    if (backend_.asynchronous)
        current_.after.push_back(std::move(fn));
    else
        fn();
}

// A status of the backend as the error that it is.
void Engine::check(vin_status status) const {
    if (status != VIN_OK) throw Error(code_of(status), backend_.last_error());
}

// ---- what is ahead of the device ----

Failure Engine::lost() {
    std::lock_guard<std::mutex> lock(flight_mutex_);
    return lost_;
}

// The device does nothing more: all that is queued fails with its first error.
Failure Engine::lose(Failure failure) {
    {
        std::lock_guard<std::mutex> lock(flight_mutex_);
        if (!lost_) lost_ = std::move(failure);
        failure = lost_;
    }
    {
        std::lock_guard<std::mutex> lock(mutex_);
        has_lost_ = true;
    }
    wake_.notify_one();
    return failure;
}

// Memory, streams and errors of the context go with its last user: another engine may open the device again, whatever
// JavaScript still holds of this one.
void Engine::close_lost_device() {
    if (!stream_) return;
    {
        std::unique_lock<std::mutex> lock(flight_mutex_);
        reached_.wait(lock, [this] { return ahead_ == 0; });
        left_ = {};
        has_left_ = false;
    }
    memory_->abandon(*lost());
    arena_.reset();
    plans_.clear();
    forget_constants();
    close_streams();
}

vin_event* Engine::recorded(vin_stream* stream) {
    vin_event* event = nullptr;
    {
        std::lock_guard<std::mutex> lock(flight_mutex_);
        if (!events_.empty()) {
            event = events_.back();
            events_.pop_back();
        }
    }
    vin_status status = event ? (vin_status)VIN_OK : backend_.event_open(stream, &event);
    if (status == VIN_OK) status = backend_.event_record(event, stream);
    if (status != VIN_OK) lose(std::make_shared<Error>("VIN_DEVICE_ERROR", backend_.last_error()));
    return event;
}

void Engine::queue(Milestone milestone) {
    milestone.leaving = memory_->take_listed();
    if (!milestone.pace) busy_.assign(1, stream_);
    for (vin_stream* stream : busy_)
        if (vin_event* event = stream && !has_lost_ ? recorded(stream) : nullptr) milestone.events.push_back(event);
    busy_.clear();
    {
        std::lock_guard<std::mutex> lock(flight_mutex_);
        ahead_++;
        if (milestone.pace) paces_++;
        flight_.push_back(std::move(milestone));
    }
    arrived_.notify_one();
}

void Engine::queued(vin_stream* stream, const Cancel* cancel) {
    if (std::find(busy_.begin(), busy_.end(), stream) == busy_.end()) busy_.push_back(stream);
    if (++since_ < ops_of_a_pace) return;
    since_ = 0;
    Milestone milestone;
    milestone.pace = true;
    queue(std::move(milestone));
    std::unique_lock<std::mutex> lock(flight_mutex_);
    // A flag wakes nobody: it is looked at. By the system's clock: waiting by another needs a C library of 2021.
    while (paces_ >= paces_at_most && !cancel->requested)
        reached_.wait_until(lock, std::chrono::system_clock::now() + std::chrono::milliseconds(5));
}

// `later` go on when the device has done what `earlier` holds now.
void Engine::follow(const std::vector<vin_stream*>& later, vin_stream* earlier) {
    vin_event* event = has_lost_ ? nullptr : recorded(earlier);
    if (!event) return;
    for (vin_stream* stream : later)
        if (backend_.stream_after(stream, event) != VIN_OK)
            lose(std::make_shared<Error>("VIN_DEVICE_ERROR", backend_.last_error()));
    std::lock_guard<std::mutex> lock(flight_mutex_);
    events_.push_back(event);  // to be recorded anew: who follows, follows this record
}

std::vector<vin_stream*> Engine::fork(int64_t streams) {
    while (lanes_.size() < static_cast<size_t>(streams)) {
        vin_stream* opened = nullptr;
        check(backend_.stream_open(ordinal_, &threads_, &opened));
        lanes_.push_back(opened);
    }
    forked_.assign(lanes_.begin(), lanes_.begin() + streams);
    follow(forked_, stream_);
    return forked_;
}

void Engine::join(const std::vector<vin_stream*>& streams) noexcept {
    for (vin_stream* stream : streams) follow({stream_}, stream);
    forked_.clear();
}

// The completion thread.
void Engine::complete() {
    for (;;) {
        Milestone milestone;
        {
            std::unique_lock<std::mutex> lock(flight_mutex_);
            arrived_.wait(lock, [this] { return queued_all_ || !flight_.empty(); });
            if (flight_.empty()) return;
            milestone = std::move(flight_.front());
            flight_.pop_front();
        }
        for (vin_event* event : milestone.events)
            if (!has_lost_ && backend_.event_wait(event) != VIN_OK)
                lose(std::make_shared<Error>("VIN_DEVICE_ERROR", backend_.last_error()));
        Failure failure = lost();
        if (!failure)
            failure = failure_of([&] {
                for (const auto& fn : milestone.after) fn();
            });
        if (milestone.done) {
            commands_++;
            milestone.done(failure);
        }
        bool frees = false;
        {
            std::lock_guard<std::mutex> lock(flight_mutex_);
            events_.insert(events_.end(), milestone.events.begin(), milestone.events.end());
            for (const auto& [data, size] : milestone.pinned) {
                pinned_[size].push_back(data);
                pinned_bytes_ += size;
            }
            left_.data.insert(left_.data.end(), milestone.leaving.data.begin(), milestone.leaving.data.end());
            left_.bytes += milestone.leaving.bytes;
            frees = !milestone.leaving.data.empty() || pinned_bytes_ > pinned_limit;
            if (frees) has_left_ = true;
            ahead_--;
            if (milestone.pace) paces_--;
        }
        reached_.notify_all();
        if (!frees) continue;
        { std::lock_guard<std::mutex> lock(mutex_); }
        wake_.notify_one();
    }
}

void Engine::free_left() {
    if (!has_left_) return;
    PoolMemory::Blocks blocks;
    bool pinned = false;
    {
        std::lock_guard<std::mutex> lock(flight_mutex_);
        blocks = std::exchange(left_, {});
        has_left_ = false;
        pinned = pinned_bytes_ > pinned_limit;
    }
    memory_->free(blocks);
    if (pinned) free_pinned();
}

void Engine::settle() {
    if (std::this_thread::get_id() != thread_.get_id()) return;
    waits_++;
    queue({});
    {
        std::unique_lock<std::mutex> lock(flight_mutex_);
        reached_.wait(lock, [this] { return ahead_ == 0; });
    }
    free_left();
}

void Engine::free_pinned() {
    std::lock_guard<std::mutex> lock(flight_mutex_);
    for (const auto& entry : pinned_)
        for (void* data : entry.second) {
            if (backend_.host_free)
                backend_.host_free(stream_, data);
            else
                std::free(data);
        }
    pinned_.clear();
    pinned_bytes_ = 0;
}

std::pair<void*, size_t> Engine::take_pinned(size_t bytes) {
    size_t size = 4096;
    while (size < bytes) size *= 2;
    {
        std::lock_guard<std::mutex> lock(flight_mutex_);
        std::vector<void*>& kept = pinned_[size];
        if (!kept.empty()) {
            void* data = kept.back();
            kept.pop_back();
            pinned_bytes_ -= size;
            return {data, size};
        }
    }
    void* data = nullptr;
    if (backend_.host_alloc)
        check(backend_.host_alloc(stream_, size, &data));
    else if (!(data = std::malloc(size)))
        throw std::bad_alloc();
    return {data, size};
}

// ---- ops, plans, memory ----

namespace {
// An address for what a dry run does not place: never read, but not null, because null marks an absent operand.
struct Nowhere : Memory {
    void* take(size_t) override { return reinterpret_cast<void*>(64); }
    void give(void*, size_t) override {}
};
}  // namespace

Tensor Engine::constant(const Ops& ops, const void* values, size_t bytes, const Shape& shape, int32_t dtype) {
    static const auto nowhere = std::make_shared<Storage>(std::make_shared<Nowhere>(), 0);
    if (!ops.stream) return Tensor(nowhere, shape, dtype);
    std::string key(static_cast<const char*>(values), bytes);
    key.push_back(static_cast<char>(dtype));
    std::shared_ptr<Storage>& kept = constants_[std::move(key)];
    if (!kept) {
        const size_t size = (bytes + 63) / 64 * 64;
        if (!slab_ || slab_used_ + size > slab_->bytes) {
            slab_ = std::make_shared<Storage>(memory_, std::max(size, slab_bytes));
            constant_bytes_ += slab_->bytes;
            slab_used_ = 0;
        }
        const auto storage = std::make_shared<Storage>(slab_, slab_used_, bytes);
        upload(storage->data, values, bytes);
        slab_used_ += size;
        kept = storage;
        if (!forked_.empty()) follow(forked_, stream_);
    }
    return Tensor(kept, shape, dtype);
}

void Engine::forget_constants() {
    constants_.clear();
    slab_.reset();
    constant_bytes_ = 0;
}

Ops Engine::base(const Cancel* cancel) const {
    Ops ops;
    ops.cancel = cancel ? cancel : &default_cancel_;
    ops.threads = const_cast<Threads*>(&threads_);
    ops.flow = backend_.asynchronous ? const_cast<Engine*>(this) : nullptr;
    ops.scratch_bytes = backend_.scratch_bytes;
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

// Streams hold memory: where nobody has said how many tasks run at once, as many as there is room for beside constants.
Engine::Plan Engine::dry_run(const Cancel* cancel, int tasks_in_flight, const std::function<void(Ops&)>& fn) {
    dry_runs_++;
    Plan plan{plan_of(base(cancel), tasks_in_flight, fn), tasks_in_flight};
    if (!backend_.asynchronous || tasks_in_flight > 0) return plan;
    const uint64_t room = memory_->room() + (arena_ ? arena_->bytes : 0);
    for (int64_t fewer = streams_ / 2; plan.arena.peak + slab_bytes > room && fewer > 0; fewer /= 2)
        plan = {plan_of(base(cancel), static_cast<int>(fewer), fn), static_cast<int>(fewer)};
    return plan;
}

void Engine::run(const Plan& plan, const Cancel* cancel, const std::function<void(Ops&)>& fn) {
    if (constant_bytes_ > constants_limit) forget_constants();
    if (!arena_ || arena_->bytes < plan.arena.peak) {
        arena_.reset();  // before the larger one is asked for, and not kept: no later plan takes a block of this size
        memory_->trim();
        arena_ = std::make_shared<Storage>(memory_, plan.arena.peak);
    }
    Ops ops = direct(cancel);
    ops.memory = std::make_shared<ReplayMemory>(plan.arena, static_cast<char*>(arena_->data));
    ops.tasks_in_flight = plan.tasks_in_flight;
    fn(ops);
}

void Engine::planned(const Cancel* cancel, int tasks_in_flight, const std::function<void(Ops&)>& fn) {
    run(dry_run(cancel, tasks_in_flight, fn), cancel, fn);
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
    run(plans_.front().second, cancel, fn);
}

void Engine::release() {
    arena_.reset();
    plans_.clear();
    forget_constants();
    memory_->trim();
    if (!backend_.asynchronous) return;
    settle();
    free_pinned();
}

void Engine::upload(void* device, const void* host, size_t bytes) {
    uploads_++;
    check(backend_.upload(stream_, device, host, bytes));
}

void Engine::fetch(void* host, const void* device, size_t bytes) {
    if (!backend_.asynchronous) return download(host, device, bytes);
    current_.pinned.push_back(take_pinned(bytes));
    void* pinned = current_.pinned.back().first;
    check(backend_.download(stream_, pinned, device, bytes));
    after([host, pinned, bytes] {
        if (bytes) std::memcpy(host, pinned, bytes);
    });
}

void Engine::download(void* host, const void* device, size_t bytes) {
    if (!backend_.asynchronous) {
        check(backend_.download(stream_, host, device, bytes));
        check(backend_.stream_wait(stream_));
        return;
    }
    current_.pinned.push_back(take_pinned(bytes));
    const auto [pinned, size] = current_.pinned.back();
    check(backend_.download(stream_, pinned, device, bytes));
    waits_++;
    check(backend_.stream_wait(stream_));
    if (bytes) std::memcpy(host, pinned, bytes);
    current_.pinned.pop_back();
    std::lock_guard<std::mutex> lock(flight_mutex_);
    pinned_[size].push_back(pinned);
    pinned_bytes_ += size;
}

}  // namespace vin
