// Checks of operands, by the launchers of all ops.
#include "launch.h"

#include <stdio.h>

namespace vin {
namespace cuda {

static const char* dtype_name(int32_t dtype) {
    static const char* const names[] = {"f32", "bf16", "f16", "i32", "u8", "f64"};
    return dtype >= 0 && dtype < 6 ? names[dtype] : "any dtype";
}

static const char* layout_name(Layout layout) {
    static const char* const names[] = {"strided", "not overlapping", "contiguous rows", "dense"};
    return names[layout];
}

namespace {
struct Text {
    char data[160];
};
}  // namespace

// "[2, ?, 5]"
static Text shape_text(int32_t rank, const int64_t* shape) {
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

static bool has_layout(const vin_tensor& t, Layout layout) {
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

vin_status expect_tensor(const char* op, const char* operand, const vin_tensor& t, int32_t dtype, Layout layout,
                         int32_t rank, const int64_t* shape) {
    bool fits = t.rank == rank;
    for (int32_t i = 0; fits && i < rank; i++) fits = shape[i] < 0 ? t.shape[i] >= 0 : t.shape[i] == shape[i];
    const bool typed = dtype < 0 || t.dtype == dtype;
    if (!fits || !typed || !has_layout(t, layout)) {
        const int32_t known_rank = t.rank < 0 ? 0 : t.rank > VIN_MAX_RANK ? VIN_MAX_RANK : t.rank;
        return fail(VIN_INVALID, "%s: expected %s %s %s (%s), found %s %s with strides %s", op, operand,
                    dtype_name(dtype), shape_text(rank, shape).data, layout_name(layout), dtype_name(t.dtype),
                    shape_text(known_rank, t.shape).data, shape_text(known_rank, t.stride).data);
    }
    if (!t.data && count(t) > 0) return fail(VIN_INVALID, "%s: expected %s, found none", op, operand);
    return VIN_OK;
}

vin_status expect_group(const char* op, const vin_tensor& group, int64_t rows, int64_t groups) {
    if (present(group)) return expect(op, "group", group, VIN_DTYPE_I32, DENSE, rows);
    return rows == 0 || groups > 0 ? (vin_status)VIN_OK
                                   : fail(VIN_INVALID, "%s: expected at least one group, found none", op);
}

}  // namespace cuda
}  // namespace vin
