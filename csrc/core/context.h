// The context of one model call, and the one way to call the backend table.
#pragma once
#include <atomic>
#include <memory>

#include "tape.h"
#include "tensor.h"

namespace vin {

class Threads;
class Trace;

// Read before every op; set from any thread.
struct Cancel {
    std::atomic<bool> requested{false};
};

// Told of what is queued on an asynchronous backend; the engine's thread.
class Flow {
public:
    virtual ~Flow() = default;
    // An op was queued. Waits while too many are ahead of the device, unless the job is cancelled.
    virtual void queued(vin_stream* stream, const Cancel* cancel) = 0;
};

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
    Flow* flow = nullptr;     // of an asynchronous backend
    int tasks_in_flight = 0;  // tasks of a parallel region at once; 0: the threads
    Trace* trace = nullptr;
    int chunk = -1;  // for the trace

    Tensor empty(const Shape& shape, int32_t dtype = VIN_DTYPE_F32) const {
        return Tensor::allocate(memory, shape, dtype);
    }
    bool wants(const Tensor& tensor) const { return tape && tape->wants(tensor); }
};

// Calls the slot of an op: cancel flag, trace, status → Error naming the op.
#define VIN_OP(name, fields) void call(Ops& ops, const vin_##name##_args& args);
#include "../ops.def"
#undef VIN_OP

}  // namespace vin
