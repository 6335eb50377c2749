#include "frame_attention.h"

#include <algorithm>
#include <cmath>

namespace vin {

static constexpr double pi = 3.14159265358979323846;

// methods.md §3: windows of U frames every S frames, and one more for the r frames after the last; a frame's result is
// the mean over the windows that hold it, weighted by a pyramid over the window. The last window counts for its r
// frames alone.
static void plan_windows(Ops& ops, PlannedFrameAttention& plan, int64_t F, int64_t U, int64_t S) {
    struct Share {
        int64_t begin, first;  // the window, and its first frame that counts
    };
    std::vector<Share> shares;
    int64_t covered = 0;
    for (int64_t begin = 0; begin + U <= F; begin += S) {
        shares.push_back({begin, begin});
        covered = begin + U;
    }
    if (covered < F) shares.push_back({F - U, covered});
    const auto weight = [U](int64_t place) {
        return (U + 1) / 2 - std::abs(2 * place - (U - 1)) / 2;  // ⌈U/2⌉ − ⌊|i − c|⌋, c = (U − 1)/2
    };
    std::vector<int64_t> sums(static_cast<size_t>(F), 0);
    for (const Share& share : shares)
        for (int64_t f = share.first; f < share.begin + U; f++) sums[static_cast<size_t>(f)] += weight(f - share.begin);
    for (const Share& share : shares) {
        std::vector<float> weights;
        for (int64_t f = share.first; f < share.begin + U; f++)
            weights.push_back(static_cast<float>(static_cast<double>(weight(f - share.begin)) /
                                                 static_cast<double>(sums[static_cast<size_t>(f)])));
        const int64_t count = static_cast<int64_t>(weights.size());
        plan.windows.push_back(
            {share.first, share.begin + U, share.begin, share.begin + U, constant(ops, weights, {count, 1, 1})});
    }
}

// methods.md §4: the frames that each frame sees; neighbours that see the same ones are one task.
static void plan_neighbourhoods(PlannedFrameAttention& plan, int64_t F, int64_t w) {
    for (int64_t f = 0; f < F; f++) {
        int64_t begin = std::max<int64_t>(0, f - w / 2), end = std::min(F, f + w / 2 + 1);
        if (end - begin < w) {
            if (begin == 0)
                end = std::min(F, w);
            else
                begin = std::max<int64_t>(0, end - w);
        }
        if (!plan.windows.empty() && plan.windows.back().begin == begin && plan.windows.back().end == end)
            plan.windows.back().queries_end = f + 1;
        else
            plan.windows.push_back({f, f + 1, begin, end, {}});
    }
}

// The low-pass filter is a product of one Gaussian per axis, so it is one symmetric matrix per axis, of the circular
// convolution with the inverse transform of exp(−½ (2f/cutoff)²), f in cycles per sample.
static Tensor low_pass(Ops& ops, int64_t n, double cutoff) {
    std::vector<double> kernel(static_cast<size_t>(n), 0);
    for (int64_t distance = 0; distance < n; distance++) {
        for (int64_t bin = 0; bin < n; bin++) {
            const double f = static_cast<double>(2 * bin < n ? bin : bin - n) / static_cast<double>(n);
            kernel[static_cast<size_t>(distance)] +=
                std::exp(-0.5 * (2 * f / cutoff) * (2 * f / cutoff)) *
                std::cos(2 * pi * static_cast<double>(bin * distance % n) / static_cast<double>(n)) /
                static_cast<double>(n);
        }
    }
    std::vector<float> matrix;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++)
            matrix.push_back(static_cast<float>(kernel[static_cast<size_t>((i - j + n) % n)]));
    return constant(ops, matrix, {n, n});
}

PlannedFrameAttention plan_frame_attention(Ops& ops, const FrameAttention& kind, int64_t frames, int64_t rows,
                                           int64_t columns) {
    PlannedFrameAttention plan;
    plan.rows = rows;
    plan.columns = columns;
    if (kind.kind == FrameAttention::Kind::windows) plan_windows(ops, plan, frames, kind.frames, kind.stride);
    if (kind.kind == FrameAttention::Kind::frequencies) {
        plan_neighbourhoods(plan, frames, kind.frames);
        if (kind.blend && kind.cutoff_time > 0 && kind.cutoff_space > 0) {
            plan.low_pass[0] = low_pass(ops, frames, kind.cutoff_time);
            plan.low_pass[1] = low_pass(ops, rows, kind.cutoff_space);
            plan.low_pass[2] = low_pass(ops, columns, kind.cutoff_space);
        }
    }
    return plan;
}

// x [F, h, w, C] filtered along one of its first three axes.
static Tensor filtered(Ops& ops, const Tensor& x, int axis, const Tensor& matrix) {
    const int64_t n = x.size(axis);
    if (n == 1) return x;
    const auto last = [axis](const Tensor& t) {
        return axis == 0 ? t.permute({1, 2, 3, 0}) : axis == 1 ? t.permute({0, 2, 3, 1}) : t.permute({0, 1, 3, 2});
    };
    const Tensor y = ops.empty(x.shape()), turned = last(y);
    copy_into(ops, turned,
              linear(ops, contiguous(ops, last(x)).reshape({x.numel() / n, n}), matrix, {}).reshape(turned.shape()));
    return y;
}

Tensor frame_attention(Ops& ops, const PlannedFrameAttention& plan, const Tensor& qkv, int heads,
                       const SelfAttentionWeights& weights, const Rotary& rotary, int64_t frames, bool across_frames) {
    const AttentionRows rows = attention_rows(ops, qkv, heads, weights.q_norm, weights.k_norm, rotary);
    const int64_t R = qkv.size(0), S = R / frames, C = qkv.size(1) / 3;
    // Rows of frames [begin, end) as sequences.
    const auto sequences = [&](int64_t begin, int64_t end) {
        const int64_t count = end - begin;
        return across_frames ? Sequences{S, count, 1, S} : Sequences{1, count * S, count * S, 1};
    };
    const auto attend_frames = [&](const Tensor& y, int64_t queries_begin, int64_t queries_end, int64_t begin,
                                   int64_t end) {
        attend(ops, y, rows.frames(queries_begin * S, queries_end * S), sequences(queries_begin, queries_end),
               rows.frames(begin * S, end * S), sequences(begin, end));
    };
    const Tensor y = ops.empty({R, C});
    if (plan.windows.front().weights) {
        fill(ops, y, 0);
        for (const PlannedFrameAttention::Window& window : plan.windows) {
            const int64_t count = window.queries_end - window.queries_begin;
            const Tensor part = ops.empty({count * S, C}),
                         sum = y.slice(0, window.queries_begin * S, window.queries_end * S).reshape({count, S, C});
            attend_frames(part, window.queries_begin, window.queries_end, window.begin, window.end);
            add_into(ops, sum, sum, multiply(ops, part.reshape({count, S, C}), window.weights));
        }
        return y;
    }
    for (const PlannedFrameAttention::Window& window : plan.windows)
        attend_frames(y.slice(0, window.queries_begin * S, window.queries_end * S), window.queries_begin,
                      window.queries_end, window.begin, window.end);
    if (!plan.low_pass[0]) return y;
    // local + P (global − local)
    const Tensor global = ops.empty({R, C});
    attend_frames(global, 0, frames, 0, frames);
    combine_into(ops, global, 1, global, -1, y);
    Tensor difference = global.reshape({frames, plan.rows, plan.columns, C});
    for (int axis = 0; axis < 3; axis++) difference = filtered(ops, difference, axis, plan.low_pass[axis]);
    add_into(ops, y, y, difference.reshape({R, C}));
    return y;
}

}  // namespace vin
