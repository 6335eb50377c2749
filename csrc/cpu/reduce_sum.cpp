// y = Σ x over the axes where y has size 1. fp32 sums, cut into partial sums of at most 128 terms so that the rounding
// error of a long one stays small.
#include "check.h"
#include "rows.h"

namespace vin::cpu::VIN_CPU_ISA {

struct Axes {
    int rank;
    int64_t size[VIN_MAX_RANK], x[VIN_MAX_RANK], y[VIN_MAX_RANK], count;

    void add(int64_t n, int64_t stride_x, int64_t stride_y) {
        count *= n;
        if (n == 1) return;
        if (rank > 0 && x[rank - 1] == stride_x * n && y[rank - 1] == stride_y * n) {
            size[rank - 1] *= n;
            x[rank - 1] = stride_x;
            y[rank - 1] = stride_y;
            return;
        }
        size[rank] = n;
        x[rank] = stride_x;
        y[rank++] = stride_y;
    }
    // Offsets in x and y of item i, counted row-major.
    void offsets(int64_t i, int64_t& in_x, int64_t& in_y) const {
        in_x = in_y = 0;
        for (int k = rank - 1; k >= 0; k--) {
            in_x += i % size[k] * x[k];
            in_y += i % size[k] * y[k];
            i /= size[k];
        }
    }
};

constexpr int64_t TERMS = 128;

// One output: Σ over the items of `reduced`, whose innermost axis is passed through W at a time where it is contiguous.
static float sum_items(const float* x, const Axes& reduced) {
    const int64_t inner = reduced.rank ? reduced.size[reduced.rank - 1] : 1,
                  step = reduced.rank ? reduced.x[reduced.rank - 1] : 0;
    float total = 0;
    for (int64_t item = 0; item < reduced.count; item += inner) {
        int64_t at, unused;
        reduced.offsets(item, at, unused);
        const float* from = x + at;
        if (step == 1) {
            for (int64_t begin = 0; begin < inner; begin += TERMS * W) {
                const int64_t end = min(inner, begin + TERMS * W);
                vf partial = {};
                for (int64_t i = begin; i < end; i += W) partial += load_up_to(from + i, end - i);
                total += sum(partial);
            }
        } else {
            for (int64_t begin = 0; begin < inner; begin += TERMS) {
                float partial = 0;
                for (int64_t i = begin; i < min(inner, begin + TERMS); i++) partial += from[i * step];
                total += partial;
            }
        }
    }
    return total;
}

// `width` neighbouring outputs at once (column sums).
static void sum_columns(float* y, const float* x, int64_t width, const Axes& reduced) {
    const int64_t inner = reduced.rank ? reduced.size[reduced.rank - 1] : reduced.count,
                  step = reduced.rank ? reduced.x[reduced.rank - 1] : 0;
    for (int64_t c = 0; c < width; c += W) {
        vf total = {};
        for (int64_t item = 0; item < reduced.count; item += inner) {
            int64_t at, unused;
            reduced.offsets(item, at, unused);
            for (int64_t begin = 0; begin < inner; begin += TERMS) {
                vf partial = {};
                for (int64_t i = begin; i < min(inner, begin + TERMS); i++)
                    partial += load_up_to(x + at + i * step + c, width - c);
                total += partial;
            }
        }
        store_up_to(y + c, total, width - c);
    }
}

vin_status reduce_sum(vin_stream* stream, const vin_reduce_sum_args* args) {
    const vin_tensor &y = args->y, &x = args->x;
    if (vin_status status = expect_like("x", x, VIN_STRIDED, x)) return status;
    Axes kept = {0, {}, {}, {}, 1}, reduced = {0, {}, {}, {}, 1};
    int64_t shape[VIN_MAX_RANK] = {};
    for (int i = 0; i < x.rank; i++) {
        const bool sums = i < y.rank && y.shape[i] == 1;
        shape[i] = sums ? 1 : x.shape[i];
        if (sums)
            reduced.add(x.shape[i], x.stride[i], 0);
        else
            kept.add(x.shape[i], x.stride[i], y.stride[i]);
    }
    if (vin_status status = vin_cpu_expect("y", &y, VIN_DTYPE_F32, VIN_STRIDED_OUTPUT, x.rank, shape)) return status;
    if (kept.count == 0) return VIN_OK;

    const int last = kept.rank - 1;
    if (last >= 0 && kept.x[last] == 1 && kept.y[last] == 1) {
        constexpr int64_t BLOCK = 64;  // columns of one task
        const int64_t width = kept.size[last], blocks = (width + BLOCK - 1) / BLOCK;
        each_row(stream, kept.count / width * blocks, reduced.count * BLOCK, [&](int64_t item) {
            const int64_t column = item % blocks * BLOCK;
            int64_t in_x, in_y;
            kept.offsets(item / blocks * width + column, in_x, in_y);
            sum_columns(f32(y) + in_y, f32(x) + in_x, min(BLOCK, width - column), reduced);
        });
        return VIN_OK;
    }
    each_row(stream, kept.count, reduced.count, [&](int64_t item) {
        int64_t in_x, in_y;
        kept.offsets(item, in_x, in_y);
        f32(y)[in_y] = sum_items(f32(x) + in_x, reduced);
    });
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
