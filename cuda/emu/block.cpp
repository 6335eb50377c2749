#include "block.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <numeric>
#include <thread>
#include <vector>

#include "fiber.h"

namespace vin {
namespace emu {

__thread Thread* current;
KernelEntry* kernels;

Schedule::Schedule(const std::string& text) {
    if (text == "rr") kind_ = ascending;
    if (text == "reverse") kind_ = reverse;
    if (text.rfind("random:", 0) == 0 && text.size() > 7 &&
        text.find_first_not_of("0123456789", 7) == std::string::npos) {
        kind_ = random;
        seed_ = strtoull(text.c_str() + 7, nullptr, 10);
    }
}

Schedule::Generator Schedule::generator(uint64_t launch, uint64_t block) const {
    return Generator(kind_ == random ? seed_ * 0x9E3779B97F4A7C15 + launch * 0xBF58476D1CE4E5B9 + block : 0);
}

void Schedule::permute(int* order, int count, Generator& generator) const {
    std::iota(order, order + count, 0);
    if (kind_ == reverse) std::reverse(order, order + count);
    // Fisher–Yates written out: std::shuffle may differ between standard libraries, and a seed has to replay.
    if (kind_ == random)
        for (int i = count - 1; i > 0; i--) std::swap(order[i], order[generator() % static_cast<uint64_t>(i + 1)]);
}

namespace {

struct BlockThread : Thread {
    Fiber* fiber = nullptr;
    const char* file = nullptr;  // the barrier it waits at
    int line = 0;
    bool exited = false;
};

constexpr int margin = 256;             // bytes in front of and behind the shared memory of a block
constexpr unsigned char unused = 0xFF;  // what nobody has written: a NaN

// One block at a time: its threads, its shared memory, and what it did wrong.
struct Block {
    const Launch& launch;
    std::vector<BlockThread> threads;
    std::vector<int> order;
    std::vector<BlockThread*> ready;  // released by a barrier, last one first
    size_t next = 0;                  // into order: threads before it have started
    size_t waiting = 0, exited = 0;
    const char* file = nullptr;  // the barrier at which the first of those that wait now has arrived
    int line = 0;
    bool diverged = false;  // another one waits elsewhere

    std::vector<unsigned char> shared;
    std::vector<std::pair<int, int>> arrays;  // declared parts of the shared memory: begin, end

    std::vector<std::unique_ptr<Fiber>> fibers;  // started by this block's launch
    std::vector<Fiber*> idle;
    Fiber scheduler;
    const Schedule& schedule;
    Schedule::Generator generator;
    std::string fault;
    bool wild = false;  // a thread used an address that it may not
    uintptr_t address = 0;

    Block(const Launch& each, const Schedule& plan) : launch(each), schedule(plan) {
        const size_t count = static_cast<size_t>(each.block.x) * each.block.y * each.block.z;
        threads.resize(count);
        order.resize(count);
        shared.resize(each.shared_bytes + 2 * margin);
        for (size_t i = 0; i < count; i++) {
            const unsigned linear = static_cast<unsigned>(i), x = each.block.x, y = each.block.y;
            threads[i].thread_index = {linear % x, linear / x % y, linear / x / y};
            threads[i].block_size = each.block;
            threads[i].grid_size = each.grid;
        }
    }
    ~Block();
    void go(const Fiber& fiber);
    void run(Index3 index);
    void start(Fiber* fiber);
    void arrive(BlockThread& thread, const char* at, int in_line);
    BlockThread* next_ready();
    void meet();
    void report_divergence();
    void release();
    void check_shared();
    std::string place(const BlockThread& thread) const;
};

// Of this host thread.
__thread Block* running;

// Stacks of this host thread that no block uses.
std::vector<std::unique_ptr<Fiber>>& spare() {
    static thread_local std::vector<std::unique_ptr<Fiber>> fibers;
    return fibers;
}

Block::~Block() {
    for (auto& fiber : fibers) spare().push_back(std::move(fiber));
}

std::string triple(Index3 i) {
    return "(" + std::to_string(i.x) + ", " + std::to_string(i.y) + ", " + std::to_string(i.z) + ")";
}

std::string site(const char* file, int line) {
    const char* slash = strrchr(file, '/');
    return std::string(slash ? slash + 1 : file) + ":" + std::to_string(line);
}

// Ends the block: the thread that is running never goes on, nor do the others. Kernels hold nothing that needs to be
// released.
[[noreturn]] void stop(const std::string& text) {
    running->fault = text;
    Fiber* own = static_cast<BlockThread*>(current)->fiber;
    fiber_switch(*own, running->scheduler);
    __builtin_unreachable();
}

// Runs threads that have not started yet, one after another on this stack, until one of them waits at a barrier: the
// fiber then belongs to it, until it exits.
void run_threads(void* argument) {
    Fiber* own = static_cast<Fiber*>(argument);
    for (;;) {
        while (running->next < running->order.size()) {
            BlockThread& thread = running->threads[running->order[running->next++]];
            thread.fiber = own;
            current = &thread;
            running->launch.kernel->call(running->launch.kernel->function, running->launch.parameters);
            thread.exited = true;
            running->exited++;
            running->meet();
        }
        running->idle.push_back(own);
        fiber_switch(*own, running->scheduler);
    }
}

std::string Block::place(const BlockThread& thread) const { return "thread " + triple(thread.thread_index); }

// The same text of a file may lie in several places.
bool same_site(const char* a, int line_a, const char* b, int line_b) {
    return line_a == line_b && (a == b || strcmp(a, b) == 0);
}

void Block::arrive(BlockThread& thread, const char* at, int in_line) {
    thread.file = at;
    thread.line = in_line;
    if (waiting++ == 0) {
        file = at;
        line = in_line;
    } else if (!same_site(at, in_line, file, line)) {
        diverged = true;
    }
    meet();
}

// When every thread has either arrived at a barrier or exited: they may go on if they all wait at the same one.
void Block::meet() {
    if (waiting == 0 || waiting + exited < threads.size()) return;
    if (diverged || exited > 0) report_divergence();
    release();
}

void Block::report_divergence() {
    const BlockThread& first =
        *std::find_if(threads.begin(), threads.end(), [](const BlockThread& t) { return !t.exited; });
    for (const BlockThread& thread : threads) {
        if (thread.exited)
            stop("barrier divergence: " + place(first) + " waits at " + site(first.file, first.line) + ", " +
                 place(thread) + " has exited");
        if (!same_site(thread.file, thread.line, first.file, first.line))
            stop("barrier divergence: " + place(first) + " waits at " + site(first.file, first.line) + ", " +
                 place(thread) + " at " + site(thread.file, thread.line));
    }
}

void Block::release() {
    waiting = 0;
    diverged = false;
    schedule.permute(order.data(), static_cast<int>(order.size()), generator);
    ready.resize(threads.size());
    for (size_t i = 0; i < order.size(); i++) ready[ready.size() - 1 - i] = &threads[order[i]];
}

BlockThread* Block::next_ready() {
    BlockThread* thread = ready.back();
    ready.pop_back();
    current = thread;
    return thread;
}

// Lets a fiber run, and those that it switches to, until one of them switches back.
void Block::go(const Fiber& fiber) {
    fiber_switch(scheduler, fiber);
    if (!wild) return;
    fault = place(*static_cast<BlockThread*>(current)) + " uses " + describe_address(address);
}

void Block::start(Fiber* fiber) {
    if (!fiber) {
        if (spare().empty()) {
            auto made = std::make_unique<Fiber>();
            if (!fiber_allocate(*made)) {
                fault = "the host has no memory for the stacks of " + std::to_string(threads.size()) + " threads";
                return;
            }
            fibers.push_back(std::move(made));
        } else {
            fibers.push_back(std::move(spare().back()));
            spare().pop_back();
        }
        fiber = fibers.back().get();
        fiber_start(*fiber, static_cast<int>(fibers.size()), run_threads, fiber);
    }
    go(*fiber);
}

// What no array declares has to be as it was.
void Block::check_shared() {
    std::sort(arrays.begin(), arrays.end());
    int begin = -margin;
    const auto check = [&](int end) {
        for (int at = begin; at < end && fault.empty(); at++)
            if (shared[margin + at] != unused)
                fault = "shared memory was written outside of its arrays, at byte " + std::to_string(at);
    };
    for (const auto& [first, end] : arrays) {
        check(first);
        begin = std::max(begin, end);
    }
    check(static_cast<int>(launch.shared_bytes) + margin);
}

void Block::run(Index3 index) {
    for (size_t i = 0; i < threads.size(); i++) {
        threads[i].block_index = index;
        threads[i].exited = false;
    }
    schedule.permute(order.data(), static_cast<int>(order.size()), generator);
    std::fill(shared.begin(), shared.end(), unused);
    arrays.clear();
    ready.clear();
    next = waiting = exited = 0;
    diverged = false;
    while (fault.empty() && exited < threads.size()) {
        if (next < threads.size()) {
            Fiber* fiber = nullptr;
            if (!idle.empty()) {
                fiber = idle.back();
                idle.pop_back();
            }
            start(fiber);
        } else {
            go(*next_ready()->fiber);
        }
    }
    if (fault.empty()) check_shared();
}

}  // namespace

void sync_threads(const char* file, int line) {
    Block& block = *running;
    BlockThread& thread = *static_cast<BlockThread*>(current);
    block.arrive(thread, file, line);
    // Straight to the next one; the scheduler has those that have not started.
    if (block.ready.empty()) return fiber_switch(*thread.fiber, block.scheduler);
    const BlockThread* next = block.next_ready();
    if (next != &thread) fiber_switch(*thread.fiber, *next->fiber);
}

unsigned char* shared_memory(int offset, int bytes) {
    Block& block = *running;
    const int size = static_cast<int>(block.launch.shared_bytes);
    if (offset < 0 || bytes < 0 || offset > size || bytes > size - offset)
        stop("an array takes bytes " + std::to_string(offset) + " to " +
             std::to_string(static_cast<int64_t>(offset) + bytes) + " of shared memory, the launch asked for " +
             std::to_string(size));
    if (offset % 16 != 0)
        stop("an array begins at byte " + std::to_string(offset) + " of shared memory, expected a multiple of 16");
    const std::pair<int, int> range(offset, offset + bytes);
    if (std::find(block.arrays.begin(), block.arrays.end(), range) == block.arrays.end()) block.arrays.push_back(range);
    return block.shared.data() + margin + offset;
}

void shared_out_of_bounds(int index, int count) {
    const BlockThread& thread = *static_cast<BlockThread*>(current);
    stop("shared memory out of bounds: " + running->place(thread) + " uses element " + std::to_string(index) +
         " of an array of " + std::to_string(count));
}

namespace {

// A wild read or write of a kernel ends its block; any other goes to who was asked before.
struct sigaction before;

void on_fault(int number, siginfo_t* info, void* machine) {
    if (running && current) {
        running->wild = true;
        running->address = reinterpret_cast<uintptr_t>(info->si_addr);
        fiber_switch(*static_cast<BlockThread*>(current)->fiber, running->scheduler);
    }
    if (before.sa_flags & SA_SIGINFO) {
        before.sa_sigaction(number, info, machine);
    } else if (before.sa_handler == SIG_DFL || before.sa_handler == SIG_IGN) {
        sigaction(number, &before, nullptr);  // and the access is tried again
    } else {
        before.sa_handler(number);
    }
}

// The handler may not run on the stack of the fiber, which may be what overflowed.
void guard_thread() {
    static const bool installed = [] {
        struct sigaction action = {};
        action.sa_sigaction = on_fault;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
        return sigaction(SIGSEGV, &action, &before) == 0;
    }();
    (void)installed;
    static thread_local const std::unique_ptr<char[]> memory = [] {
        constexpr size_t size = 64 << 10;
        auto stack = std::make_unique<char[]>(size);
        stack_t given = {};
        given.ss_sp = stack.get();
        given.ss_size = size;
        sigaltstack(&given, nullptr);
        return stack;
    }();
    (void)memory;
}

// One launch, shared by the cores that run its blocks.
struct Job {
    const Launch& launch;
    const Schedule& schedule;
    uint64_t number;
    std::vector<int> order;
    std::atomic<size_t> next{0};
    std::mutex mutex{};
    size_t first_fault = SIZE_MAX;
    std::string report{};

    void work() {
        guard_thread();
        Block block(launch, schedule);
        running = &block;
        for (size_t i = next++; i < order.size(); i = next++) {
            const unsigned linear = static_cast<unsigned>(order[i]), x = launch.grid.x, y = launch.grid.y;
            const Index3 index = {linear % x, linear / x % y, linear / x / y};
            block.generator = schedule.generator(number, linear);
            block.run(index);
            if (block.fault.empty()) continue;
            std::lock_guard<std::mutex> lock(mutex);
            next = order.size();
            if (i < first_fault) {
                first_fault = i;
                report = std::string(launch.kernel->name) + ", block " + triple(index) + ": " + block.fault;
            }
            break;
        }
        running = nullptr;
        current = nullptr;
    }
};

// Threads beside the one that launches. They live as long as the process.
class Cores {
public:
    void run(Job& job) {
        std::unique_lock<std::mutex> lock(mutex_);
        if (threads_ < 0) {
            const unsigned found = std::min(8u, std::max(1u, std::thread::hardware_concurrency()));
            for (threads_ = 0; threads_ + 1 < static_cast<int>(found); threads_++)
                std::thread([this] { serve(); }).detach();
        }
        job_ = &job;
        lock.unlock();
        wake_.notify_all();
        job.work();
        lock.lock();
        job_ = nullptr;
        done_.wait(lock, [this] { return users_ == 0; });
    }

private:
    void serve() {
        sigset_t all;
        sigfillset(&all);
        sigdelset(&all, SIGSEGV);
        pthread_sigmask(SIG_SETMASK, &all, nullptr);
        std::unique_lock<std::mutex> lock(mutex_);
        for (;;) {
            wake_.wait(lock, [this] { return job_ && job_->next < job_->order.size(); });
            Job& job = *job_;
            users_++;
            lock.unlock();
            job.work();
            lock.lock();
            if (--users_ == 0) done_.notify_all();
        }
    }
    std::mutex mutex_;
    std::condition_variable wake_, done_;
    Job* job_ = nullptr;
    int threads_ = -1, users_ = 0;
};

}  // namespace

std::string run_launch(const Launch& launch, const Schedule& schedule, uint64_t number) {
    static Cores& cores = *new Cores;  // never destroyed: its threads outlive main
    const size_t blocks = static_cast<size_t>(launch.grid.x) * launch.grid.y * launch.grid.z;
    Job job{launch, schedule, number, std::vector<int>(blocks)};
    Schedule::Generator generator = schedule.generator(number, blocks);
    schedule.permute(job.order.data(), static_cast<int>(blocks), generator);
    // Waking the others takes as long as a few hundred threads that do next to nothing.
    if (blocks > 1 && blocks * launch.block.x * launch.block.y * launch.block.z >= 1024)
        cores.run(job);
    else
        job.work();
    return job.report;
}

}  // namespace emu
}  // namespace vin
