// Checks of operands, compiled once for all instruction sets.
#include <stdarg.h>
#include <stdio.h>

#include "../backend.h"

extern "C" vin_status vin_cpu_fail(vin_status status, const char* format, ...);

namespace {

thread_local const char* current_op = "";

enum { STRIDED, STRIDED_OUTPUT, ROWS, DENSE };  // vin_layout of check.h

const char* dtype_name(int32_t dtype) {
    static const char* const names[] = {"f32", "bf16", "f16", "i32", "u8", "f64"};
    return dtype >= 0 && dtype < 6 ? names[dtype] : "any dtype";
}

const char* layout_name(int32_t layout) {
    static const char* const names[] = {"strided", "not overlapping", "contiguous rows", "dense"};
    return names[layout];
}

struct Text {
    char data[160];
};

// "[2, ?, 5]"
Text shape_text(int32_t rank, const int64_t* shape) {
    Text text;
    size_t used = 0;
    text.data[used++] = '[';
    for (int32_t i = 0; i < rank && used < sizeof text.data - 32; i++) {
        const char* separator = i ? ", " : "";
        const int written = shape[i] < 0 ? snprintf(text.data + used, 32, "%s?", separator)
                                         : snprintf(text.data + used, 32, "%s%lld", separator, (long long)shape[i]);
        used += (size_t)written;
    }
    text.data[used++] = ']';
    text.data[used] = 0;
    return text;
}

bool has_layout(const vin_tensor& t, int32_t layout) {
    int64_t dense = 1;
    for (int32_t i = 0; i < t.rank; i++)
        if (t.shape[i] == 0) return true;
    for (int32_t i = t.rank - 1; i >= 0; i--) {
        if (t.shape[i] == 1) continue;
        if (layout == STRIDED_OUTPUT && t.stride[i] == 0) return false;
        if (layout == ROWS && i == t.rank - 1 && t.stride[i] != 1) return false;
        if (layout == DENSE && t.stride[i] != dense) return false;
        dense *= t.shape[i];
    }
    return true;
}

}  // namespace

extern "C" {

void vin_cpu_begin(const char* op) { current_op = op; }

vin_status vin_cpu_refuse(vin_status status, const char* format, ...) {
    char text[448];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return vin_cpu_fail(status, "%s: %s", current_op, text);
}

vin_status vin_cpu_no_memory(void) { return vin_cpu_refuse(VIN_OUT_OF_MEMORY, "no scratch memory"); }

vin_status vin_cpu_expect(const char* operand, const vin_tensor* found, int32_t dtype, int32_t layout, int32_t rank,
                          const int64_t* shape) {
    bool fits = found->rank == rank;
    int64_t elements = 1;
    for (int32_t i = 0; fits && i < rank; i++) {
        fits = shape[i] < 0 ? found->shape[i] >= 0 : found->shape[i] == shape[i];
        elements *= found->shape[i];
    }
    const bool typed = dtype < 0 || found->dtype == dtype;
    if (!fits || !typed || !has_layout(*found, layout)) {
        const int32_t known_rank = found->rank < 0 ? 0 : found->rank > VIN_MAX_RANK ? VIN_MAX_RANK : found->rank;
        return vin_cpu_refuse(VIN_INVALID, "expected %s %s %s (%s), found %s %s with strides %s", operand,
                              dtype_name(dtype), shape_text(rank, shape).data, layout_name(layout),
                              dtype_name(found->dtype), shape_text(known_rank, found->shape).data,
                              shape_text(known_rank, found->stride).data);
    }
    if (!found->data && elements > 0) return vin_cpu_refuse(VIN_INVALID, "expected %s, found none", operand);
    return VIN_OK;
}

vin_status vin_cpu_expect_indices(const char* operand, const vin_tensor* found, int64_t limit) {
    const int32_t* index = (const int32_t*)found->data;
    for (int64_t i = 0; i < found->shape[0]; i++)
        if (index[i] < 0 || index[i] >= limit)
            return vin_cpu_refuse(VIN_INVALID, "expected %s from 0 to %lld, found %d at %lld", operand,
                                  (long long)limit - 1, (int)index[i], (long long)i);
    return VIN_OK;
}
}
