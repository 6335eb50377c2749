// The one place that calls the backend table.
#include "context.h"
#include "error.h"
#include "trace.h"

namespace vin {

static void before(const Ops& ops) {
    if (ops.cancel && ops.cancel->requested.load(std::memory_order_relaxed))
        throw Error("VIN_ABORTED", "The job was cancelled");
}

[[noreturn]] static void raise(const Ops& ops, const char* name, vin_status status) {
    const char* text = ops.backend->last_error ? ops.backend->last_error() : "";
    throw Error(code_of(status), text && *text ? text : std::string(name) + " failed on " + ops.backend->name,
                {{"op", name}, {"backend", ops.backend->name}});
}

template <class Args>
struct Op {
    const char* name;
    int32_t number;
    vin_status (*vin_backend::*slot)(vin_stream*, const Args*);
};

template <class Args>
static void run(Ops& ops, const Op<Args>& op, const Args& args, void* scratch, size_t scratch_bytes) {
    before(ops);
    const double start = ops.trace ? ops.trace->now() : 0;
    vin_status status = VIN_OK;
    if (scratch_bytes && ops.backend->set_scratch)
        status = ops.backend->set_scratch(ops.stream, scratch, scratch_bytes);
    if (status == VIN_OK) status = (ops.backend->*op.slot)(ops.stream, &args);
    if (ops.trace) ops.trace->event(op.name, ops.chunk, start, ops.trace->now() - start);
    if (status != VIN_OK) raise(ops, op.name, status);
    if (ops.flow && ops.stream) ops.flow->queued(ops.stream, ops.cancel);
}

template <class Args>
static void run_or_queue(Ops& ops, const Op<Args>& op, const Args& args) {
    const size_t bytes = ops.scratch_bytes ? ops.scratch_bytes(op.number, &args) : 0;
    // Given back when the op is queued: what takes the memory next is behind it.
    const std::unique_ptr<Storage> scratch = bytes ? std::make_unique<Storage>(ops.memory, bytes) : nullptr;
    void* data = scratch ? scratch->data : nullptr;
    if (!ops.queue) return run(ops, op, args, data, bytes);
    before(ops);
    ops.queue->push_back([op, args, data, bytes, chunk = ops.chunk](Ops& lane) {
        lane.chunk = chunk;
        run(lane, op, args, data, bytes);
    });
}

#define VIN_OP(name, fields) \
    void call(Ops& ops, const vin_##name##_args& args) { \
        run_or_queue(ops, Op<vin_##name##_args>{#name, VIN_OP_##name, &vin_backend::name}, args); \
    }
#include "../ops.def"
#undef VIN_OP

}  // namespace vin
