// The CPU backend as a plug-in with one fault: each time the op that the fault names has run, one element of one of its outputs becomes wrong. A stream has the fault that
// VIN_TEST_FAULT named when it was opened, "<op>.<output>" or "none". `node tools/mutants.mjs --ops` builds it with the kernels of build/Release and expects the op's
// tests to fail.
#include <math.h>
#include <stdlib.h>
#include <string>

#include "../../csrc/core/cpu_backend.h"

// As in isa.h.
struct vin_stream {
    const vin_host* host;
    void* pool;
};

struct FaultyStream : vin_stream {
    std::string fault;
};

static double read(const vin_tensor& t, int64_t at) { return t.dtype == VIN_DTYPE_F64 ? static_cast<const double*>(t.data)[at] : static_cast<const float*>(t.data)[at]; }

// The middle element becomes wrong by a thousandth of the largest one, which is thousands of fp32's roundings; for types that are coarser, by one step.
static void spoil(const vin_tensor& t) {
    if (!t.data) return;
    int64_t elements = 1, middle = 0;
    for (int axis = 0; axis < t.rank; axis++) {
        elements *= t.shape[axis];
        middle += t.shape[axis] / 2 * t.stride[axis];
    }
    if (elements == 0) return;
    switch (t.dtype) {
        case VIN_DTYPE_I32: static_cast<int32_t*>(t.data)[middle] += 1; return;
        case VIN_DTYPE_U8: static_cast<uint8_t*>(t.data)[middle] ^= 1; return;
        case VIN_DTYPE_F16: case VIN_DTYPE_BF16: static_cast<uint16_t*>(t.data)[middle] ^= 1; return;
    }
    double largest = 0;
    for (int64_t i = 0; i < elements; i++) {
        int64_t at = 0, rest = i;
        for (int axis = t.rank - 1; axis >= 0; axis--) {
            at += rest % t.shape[axis] * t.stride[axis];
            rest /= t.shape[axis];
        }
        const double size = fabs(read(t, at));
        if (isfinite(size) && size > largest) largest = size;
    }
    const double wrong = read(t, middle) + 1e-3 * (largest > 0 ? largest : 1);
    if (t.dtype == VIN_DTYPE_F32) static_cast<float*>(t.data)[middle] = static_cast<float>(wrong);
    else static_cast<double*>(t.data)[middle] = wrong;
}

static vin_backend right;

#define VIN_OUT(field) if (fault == op + #field) spoil(args->field);
#define VIN_IN(field)
#define VIN_OPT(field)
#define VIN_I32(field)
#define VIN_F32(field)
#define VIN_F64(field)
#define VIN_OP(name, fields)                                                            \
    static vin_status wrong_##name(vin_stream* stream, const vin_##name##_args* args) { \
        static const std::string op = #name ".";                                        \
        const std::string& fault = static_cast<FaultyStream*>(stream)->fault;           \
        const vin_status status = right.name(stream, args);                             \
        if (status == VIN_OK) { fields }                                                \
        return status;                                                                  \
    }
#include "../../csrc/ops.def"
#undef VIN_OP
#undef VIN_OUT

// "none", or an output of an op.
static bool known(const std::string& fault) {
    if (fault == "none") return true;
    std::string op;
#define VIN_OUT(field) if (fault == op + #field) return true;
#define VIN_OP(name, fields) op = #name "."; fields
#include "../../csrc/ops.def"
#undef VIN_OP
#undef VIN_OUT
    return false;
}

static const vin_host* kept_host;

static vin_status stream_open(int32_t, void* pool, vin_stream** stream) {
    const char* fault = getenv("VIN_TEST_FAULT");
    if (!fault || !known(fault)) return VIN_INVALID;
    *stream = new FaultyStream{{kept_host, pool}, fault};
    return VIN_OK;
}

static vin_status stream_close(vin_stream* stream) {
    delete static_cast<FaultyStream*>(stream);
    return VIN_OK;
}

extern "C" __attribute__((visibility("default"))) vin_status vin_backend_entry(uint32_t, const vin_host* host, vin_backend* backend) {
    const vin_status status = vin_cpu_backend(kept_host = host, nullptr, &right);
    *backend = right;
    backend->stream_open = stream_open;
    backend->stream_close = stream_close;
#define VIN_OP(name, fields) backend->name = wrong_##name;
#include "../../csrc/ops.def"
#undef VIN_OP
    return status;
}
