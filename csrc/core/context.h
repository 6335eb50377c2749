// The context of one model call, and the one way to call the backend table.
#pragma once
#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "tape.h"
#include "tensor.h"

namespace vin {

class Threads;
class Trace;

// Read before every op; set from any thread.
struct Cancel {
    std::atomic<bool> requested{false};
};

struct Ops;

// What ops ask of the engine of an asynchronous backend, on its thread.
class Flow {
public:
    virtual ~Flow() = default;
    // An op was queued. Waits while too many are ahead of the device, unless the job is cancelled.
    virtual void queued(vin_stream* stream, const Cancel* cancel) = 0;
    // Host values on the device, kept by content; in a dry run nothing but their shape. Not to be written to.
    virtual Tensor constant(const Ops& ops, const void* values, size_t bytes, const Shape& shape, int32_t dtype) = 0;
    // Streams that tasks are worth; any thread.
    virtual int64_t streams() const = 0;
    // So many streams that go on behind what the engine's own holds now, and later the other way round.
    virtual std::vector<vin_stream*> fork(int64_t streams) = 0;
    virtual void join(const std::vector<vin_stream*>& streams) noexcept = 0;
};

// Ops that wait for their turn.
using OpQueue = std::vector<std::function<void(Ops&)>>;

// Where ops run, where their tensors live, whether gradients are recorded.
struct Ops {
    const vin_backend* backend = nullptr;
    vin_stream* stream = nullptr;
    std::shared_ptr<Memory> memory;
    Tape* tape = nullptr;
    bool training =
        false;  // recorded ops keep their inputs: no fused epilogues, so that recomputation repeats every bit
    bool checkpointing = false;  // checkpoint() drops what is inside
    const Cancel* cancel = nullptr;
    Threads* threads = nullptr;
    Flow* flow = nullptr;      // of an asynchronous backend, in its dry runs too
    OpQueue* queue = nullptr;  // where ops go instead of the backend
    // vin_backend.scratch_bytes of the backend, in its dry runs too; may be null.
    size_t (*scratch_bytes)(int32_t op, const void* args) = nullptr;
    int tasks_in_flight = 0;  // tasks of a parallel region at once; 0: the threads
    Trace* trace = nullptr;
    int chunk = -1;  // for the trace

    Tensor empty(const Shape& shape, int32_t dtype = VIN_DTYPE_F32) const {
        return Tensor::allocate(memory, shape, dtype);
    }
    bool wants(const Tensor& tensor) const { return tape && tape->wants(tensor); }
};

// Calls the slot of an op: scratch memory, cancel flag, trace, status → Error naming the op.
#define VIN_OP(name, fields) void call(Ops& ops, const vin_##name##_args& args);
#include "../ops.def"
#undef VIN_OP

}  // namespace vin
