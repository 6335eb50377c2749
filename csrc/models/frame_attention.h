// Attention over the frames of a whole video that is longer than the model was trained with (methods.md §3, §4): in
// windows whose results are averaged, or everywhere and nearby, blended by frequency. Inference only.
#pragma once
#include "transformer.h"

namespace vin {

struct FrameAttention {
    enum class Kind { whole, windows, frequencies };
    Kind kind = Kind::whole;
    // windows: [j · stride, j · stride + frames). frequencies: a frame sees about `frames` frames around it.
    int64_t frames = 0, stride = 0;
    // frequencies: the low-pass filter's cut-offs, of frames and of rows and columns; `blend` false: nearby frames
    // alone.
    double cutoff_time = 0, cutoff_space = 0;
    bool blend = false;
};

// What the blocks of one evaluation share.
struct PlannedFrameAttention {
    struct Window {
        int64_t queries_begin, queries_end, begin, end;  // frames
        Tensor weights;  // windows: [frames of the queries, 1, 1], the share of this window in each of them
    };
    std::vector<Window> windows;
    Tensor low_pass[3];  // over frames, rows, columns: [n, n]; absent: no blending
    int64_t rows = 0, columns = 0;
};
PlannedFrameAttention plan_frame_attention(Ops& ops, const FrameAttention& kind, int64_t frames, int64_t rows,
                                           int64_t columns);

// qkv [F · S, 3C] → [F · S, C]; rows of a frame lie together. across_frames: each token attends to itself in other
// frames, else to all tokens of them.
Tensor frame_attention(Ops& ops, const PlannedFrameAttention& plan, const Tensor& qkv, int heads,
                       const SelfAttentionWeights& weights, const Rotary& rotary, int64_t frames, bool across_frames);

}  // namespace vin
