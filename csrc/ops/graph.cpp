// Recomputation, tasks that run at once, constants, finite checks.
#include <algorithm>
#include <exception>
#include <mutex>

#include "../core/arena.h"
#include "../core/threads.h"
#include "ops.h"

namespace vin {

Tensor checkpoint(Ops& ops, const std::function<Tensor(Ops&)>& fn) {
    if (!ops.tape || !ops.checkpointing) return fn(ops);
    Tape* tape = ops.tape;
    ops.tape = nullptr;
    const Tensor y = fn(ops);
    ops.tape = tape;
    tape->record(y, [fn, output = TensorKey(y)](Ops& ops) {
        const size_t floor = ops.tape->length();
        ops.checkpointing = false;  // one level: what is inside is recorded now
        const Tensor again = fn(ops);
        ops.checkpointing = true;
        ops.tape->alias(again, output);
        ops.tape->run(ops, floor);
    });
    return y;
}

// The ops of the tasks go in turn to a stream of each slot, so that the device finds work for all of them, however few
// ops may be ahead of it.
static void queue_tasks(Ops& ops, int64_t tasks, int64_t slots,
                        const std::function<void(OpQueue&, int64_t task, int64_t slot)>& queue_task) {
    struct Lane {
        Ops ops;
        OpQueue queue;
        size_t next;
        int64_t task;
    };
    struct Fork {
        Flow* flow;
        std::vector<vin_stream*> streams;
        ~Fork() { flow->join(streams); }
    } const fork{ops.flow, ops.flow->fork(slots)};
    std::vector<Lane> lanes;
    for (int64_t slot = 0; slot < slots; slot++) {
        lanes.push_back({ops, {}, 0, slot});
        lanes.back().ops.stream = fork.streams[static_cast<size_t>(slot)];
    }
    for (bool open = true; open;) {
        open = false;
        for (int64_t slot = 0; slot < slots; slot++) {
            Lane& lane = lanes[static_cast<size_t>(slot)];
            while (lane.next == lane.queue.size() && lane.task < tasks) {
                lane.queue.clear();
                lane.next = 0;
                queue_task(lane.queue, lane.task, slot);
                lane.task += slots;
            }
            if (lane.next == lane.queue.size()) continue;
            lane.queue[lane.next++](lane.ops);
            open = true;
        }
    }
}

void parallel_tasks(Ops& ops, int64_t tasks, const std::function<void(Ops&, int64_t)>& body) {
    if (tasks == 0) return;
    const int64_t at_once = ops.flow ? ops.flow->streams() : ops.threads ? ops.threads->count() : 1;
    int64_t slots = std::min<int64_t>(tasks, ops.tasks_in_flight > 0 ? ops.tasks_in_flight : at_once);
    if (ops.flow) slots = std::min(slots, at_once);
    const auto task_ops = [&](std::shared_ptr<Memory> memory, int64_t task) {
        Ops inner = ops;
        inner.memory = std::move(memory);
        inner.tape = nullptr;
        inner.chunk = static_cast<int>(task);
        return inner;
    };

    if (auto* recording = dynamic_cast<RecordingMemory*>(ops.memory.get())) {
        std::vector<ArenaPlan> plans;
        size_t peak = 0;
        for (int64_t task = 0; task < tasks; task++) {
            auto memory = std::make_shared<RecordingMemory>();
            Ops inner = task_ops(memory, task);
            body(inner, task);
            peak = std::max(peak, memory->plan.peak);
            plans.push_back(std::move(memory->plan));
        }
        recording->plan.regions.push_back(std::move(plans));
        Storage block(ops.memory, static_cast<size_t>(slots) * peak);
        return;
    }

    auto* replaying = dynamic_cast<ReplayMemory*>(ops.memory.get());
    const std::vector<ArenaPlan>* plans = replaying ? &replaying->next_region() : nullptr;
    size_t peak = 0;
    if (plans)
        for (const ArenaPlan& plan : *plans) peak = std::max(peak, plan.peak);
    std::unique_ptr<Storage> block =
        plans ? std::make_unique<Storage>(ops.memory, static_cast<size_t>(slots) * peak) : nullptr;
    const auto memory_of = [&](int64_t task, int64_t slot) -> std::shared_ptr<Memory> {
        if (!plans) return ops.memory;
        return std::make_shared<ReplayMemory>((*plans)[static_cast<size_t>(task)],
                                              static_cast<char*>(block->data) + static_cast<size_t>(slot) * peak);
    };

    if (ops.flow && plans && slots > 1) {
        queue_tasks(ops, tasks, slots, [&](OpQueue& queue, int64_t task, int64_t slot) {
            Ops inner = task_ops(memory_of(task, slot), task);
            inner.queue = &queue;
            body(inner, task);
        });
        return;
    }

    std::atomic<int64_t> next{0};
    std::mutex mutex;
    std::exception_ptr failure;
    int64_t failed_task = tasks;
    const auto lane = [&](int64_t slot) {
        for (int64_t task = next++; task < tasks; task = next++) {
            try {
                Ops inner = task_ops(memory_of(task, slot), task);
                body(inner, task);
            } catch (...) {
                std::lock_guard<std::mutex> lock(mutex);
                if (task < failed_task) {  // the first task's error, whichever thread met one first
                    failed_task = task;
                    failure = std::current_exception();
                }
                next = tasks;
            }
        }
    };
    if (ops.threads && !ops.flow) {
        ops.threads->parallel(
            slots, [](void* context, int64_t slot) { (*static_cast<decltype(lane)*>(context))(slot); },
            const_cast<void*>(static_cast<const void*>(&lane)));
    } else {
        lane(0);
    }
    if (failure) std::rethrow_exception(failure);
}

void check_finite(Ops& ops, const Tensor& flag, const Tensor& x, int code) {
    if (flag) call(ops, vin_check_finite_args{flag.view(), x.rows().view(), code});
}

static Tensor uploaded(Ops& ops, const void* data, const Shape& shape, int32_t dtype) {
    if (ops.flow) return ops.flow->constant(ops, data, static_cast<size_t>(elements(shape)) * 4, shape, dtype);
    Tensor t = ops.empty(shape, dtype);
    if (ops.backend->upload &&
        ops.backend->upload(ops.stream, t.view().data, data, static_cast<size_t>(t.numel()) * 4) != VIN_OK)
        throw Error("VIN_DEVICE_ERROR", "Expected to copy " + to_string(shape) + " to the device but it failed");
    return t;
}

Tensor constant(Ops& ops, const std::vector<float>& values, const Shape& shape) {
    return uploaded(ops, values.data(), shape, VIN_DTYPE_F32);
}
Tensor constant(Ops& ops, const std::vector<int32_t>& values, const Shape& shape) {
    return uploaded(ops, values.data(), shape, VIN_DTYPE_I32);
}

}  // namespace vin
