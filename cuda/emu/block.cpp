#include "block.h"

#include <string.h>

#include <algorithm>
#include <memory>
#include <numeric>
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
        generator_.seed(strtoull(text.c_str() + 7, nullptr, 10));
    }
}

void Schedule::permute(int* order, int count) {
    std::iota(order, order + count, 0);
    if (kind_ == reverse) std::reverse(order, order + count);
    // Fisher–Yates written out: std::shuffle may differ between standard libraries, and a seed has to replay.
    if (kind_ == random)
        for (int i = count - 1; i > 0; i--) std::swap(order[i], order[generator_() % static_cast<uint64_t>(i + 1)]);
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

    std::vector<unsigned char> shared;
    std::vector<std::pair<int, int>> arrays;  // declared parts of the shared memory: begin, end

    std::vector<std::unique_ptr<Fiber>> fibers;
    std::vector<Fiber*> idle;
    Fiber scheduler;
    Schedule& schedule;
    std::string fault;

    Block(const Launch& each, Schedule& plan) : launch(each), schedule(plan) {
        const size_t count = static_cast<size_t>(each.block.x) * each.block.y * each.block.z;
        threads.resize(count);
        order.resize(count);
        shared.resize(each.shared_bytes + 2 * margin);
    }
    ~Block() {
        for (const auto& fiber : fibers) fiber_free(*fiber);
    }
    void run(Index3 index);
    void start(Fiber* fiber);
    void meet();
    void release();
    void check_shared();
    std::string place(const BlockThread& thread) const;
};

Block* running;

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

// Every thread has either arrived at a barrier or exited: they may go on if they all wait at the same one.
void Block::meet() {
    if (waiting == 0 || waiting + exited < threads.size()) return;
    const BlockThread& first =
        *std::find_if(threads.begin(), threads.end(), [](const BlockThread& t) { return !t.exited; });
    for (const BlockThread& thread : threads) {
        if (thread.exited)
            stop("barrier divergence: " + place(first) + " waits at " + site(first.file, first.line) + ", " +
                 place(thread) + " has exited");
        if (thread.line != first.line || strcmp(thread.file, first.file) != 0)
            stop("barrier divergence: " + place(first) + " waits at " + site(first.file, first.line) + ", " +
                 place(thread) + " at " + site(thread.file, thread.line));
    }
    release();
}

void Block::release() {
    waiting = 0;
    schedule.permute(order.data(), static_cast<int>(order.size()));
    ready.resize(threads.size());
    for (size_t i = 0; i < order.size(); i++) ready[ready.size() - 1 - i] = &threads[order[i]];
}

void Block::start(Fiber* fiber) {
    if (!fiber) {
        fibers.push_back(std::make_unique<Fiber>());
        fiber = fibers.back().get();
        if (!fiber_allocate(*fiber)) {
            fault = "the host has no memory for the stacks of " + std::to_string(threads.size()) + " threads";
            return;
        }
        fiber_start(*fiber, static_cast<int>(fibers.size()), run_threads, fiber);
    }
    fiber_switch(scheduler, *fiber);
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
        const unsigned linear = static_cast<unsigned>(i), x = launch.block.x, y = launch.block.y;
        threads[i] = {};
        threads[i].thread_index = {linear % x, linear / x % y, linear / x / y};
        threads[i].block_index = index;
        threads[i].block_size = launch.block;
        threads[i].grid_size = launch.grid;
    }
    schedule.permute(order.data(), static_cast<int>(order.size()));
    std::fill(shared.begin(), shared.end(), unused);
    arrays.clear();
    ready.clear();
    next = waiting = exited = 0;
    while (fault.empty() && exited < threads.size()) {
        if (next < threads.size()) {
            Fiber* fiber = nullptr;
            if (!idle.empty()) {
                fiber = idle.back();
                idle.pop_back();
            }
            start(fiber);
        } else {
            BlockThread* thread = ready.back();
            ready.pop_back();
            current = thread;
            fiber_switch(scheduler, *thread->fiber);
        }
    }
    if (fault.empty()) check_shared();
}

}  // namespace

void sync_threads(const char* file, int line) {
    BlockThread& thread = *static_cast<BlockThread*>(current);
    thread.file = file;
    thread.line = line;
    running->waiting++;
    running->meet();
    fiber_switch(*thread.fiber, running->scheduler);
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

std::string run_launch(const Launch& launch, Schedule& schedule) {
    const size_t blocks = static_cast<size_t>(launch.grid.x) * launch.grid.y * launch.grid.z;
    std::vector<int> order(blocks);
    schedule.permute(order.data(), static_cast<int>(blocks));
    Block block(launch, schedule);
    running = &block;
    std::string report;
    for (size_t i = 0; i < blocks && report.empty(); i++) {
        const unsigned linear = static_cast<unsigned>(order[i]), x = launch.grid.x, y = launch.grid.y;
        const Index3 index = {linear % x, linear / x % y, linear / x / y};
        block.run(index);
        if (!block.fault.empty())
            report = std::string(launch.kernel->name) + ", block " + triple(index) + ": " + block.fault;
    }
    running = nullptr;
    current = nullptr;
    return report;
}

}  // namespace emu
}  // namespace vin
