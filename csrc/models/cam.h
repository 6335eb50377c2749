// The conditional attention module of StreamingT2V on this DiT, methods.md §5: a copy of the first half of the layers
// reads the finished context frames, and every row of a chunk attends to what it makes of them.
#pragma once
#include "dit.h"

namespace vin {

// Codes of check_finite, behind those of the VIN (vin.h).
static constexpr int cam_block_code = 1 << 17;

// What CAM's blocks have made of a chunk's context frames so far.
struct ContextRows {
    Tensor rows;  // m [B, F · S, C]
    Tensor group;
    SelfAttention spatial, temporal, everything;
};
// The patches of the context frames; their positions, time code and t are those of the chunk.
ContextRows context_rows(Ops& ops, const Transformer& model, const DitInputs& inputs, const Chunk& chunk);
// Layer `layer` of CAM, then h [B, T · S, C] += what its rows read there, site by site.
Tensor attend_to_context(Ops& ops, const Transformer& model, const DitInputs& inputs, const Chunk& chunk,
                         ContextRows& context, size_t layer, const Tensor& h, const Tensor& captions,
                         const Tensor& finite_flag);

}  // namespace vin
