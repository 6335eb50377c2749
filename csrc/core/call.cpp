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

#define VIN_OP(name, fields) \
    void call(Ops& ops, const vin_##name##_args& args) { \
        before(ops); \
        const double start = ops.trace ? ops.trace->now() : 0; \
        const vin_status status = ops.backend->name(ops.stream, &args); \
        if (ops.trace) ops.trace->event(#name, ops.chunk, start, ops.trace->now() - start); \
        if (status != VIN_OK) raise(ops, #name, status); \
        if (ops.flow) ops.flow->queued(ops.stream, ops.cancel); \
    }
#include "../ops.def"
#undef VIN_OP

}  // namespace vin
