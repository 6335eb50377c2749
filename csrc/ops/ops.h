// What models are written in. Each function checks shapes, calls one slot of the backend table and, when the tape wants
// it, records its gradient rule. Shapes in comments: R rows (flattened leading axes), C channels. A default-constructed
// Tensor is an absent operand.
#pragma once
#include <functional>
#include <string>

#include "../core/context.h"
#include "../core/error.h"

namespace vin {

// ---- linear.cpp ----
struct Epilogue {
    int32_t activation = VIN_ACTIVATION_NONE;
    Tensor gate;      // [groups, N]
    Tensor group;     // i32 [R]
    Tensor residual;  // like the result
};
// y[…, N] = residual + gate[group] · activation(x[…, K] weight[N, K]ᵀ + bias[N])
Tensor linear(Ops& ops, const Tensor& x, const Tensor& weight, const Tensor& bias, const Epilogue& epilogue = {});
// x, y [T,H,W,·] channels last; weight [O,I,kt,kh,kw] or [O,I,kh,kw]
struct Convolution {
    int stride_t = 1, stride_s = 1, pad_t = 0, pad_s = 0;
    int64_t out_t = 0, out_h = 0, out_w = 0;  // 0: as large as the input divided by the stride
};
Tensor conv3d(Ops& ops, const Tensor& x, const Tensor& weight, const Tensor& bias, const Convolution& shape,
              const Tensor& residual = {});

// ---- attention.cpp ----
// How the rows of a [R, H·d] matrix form B sequences of L rows: row of (b, l) = b · batch_stride + l · row_stride; the
// whole again for each of `repeats` equal parts of the rows.
struct Sequences {
    int64_t batch, length, batch_stride, row_stride;
    int64_t repeats = 1;
};
// Rotary positions: table [P, d]; row r turns by line r / rows_per_position, rows past the table are not turned.
struct Rotary {
    Tensor table;
    int rows_per_position = 1;
};
// qkv […, 3·H·d] → […, H·d]. q, k through RMS (weights may be absent), then rotary. Keys l < key_grad_from of each
// sequence get no gradient.
Tensor self_attention(Ops& ops, const Tensor& qkv, int heads, const Sequences& sequences, const Tensor& q_norm,
                      const Tensor& k_norm, const Rotary& rotary, int64_t key_grad_from);
// q [R, H·d], kv [K, 2·H·d] (k then v) → [R, H·d]; or a batch of them: q [B, R, H·d], kv [B, K, 2·H·d] → [B, R, H·d]
Tensor cross_attention(Ops& ops, const Tensor& q, const Tensor& kv, int heads, const Tensor& q_norm,
                       const Tensor& k_norm);
// q k v [L, H·d] or [B, L, H·d]; bias [H, L, L] is added to the scores of each (T5); scale as given
Tensor biased_attention(Ops& ops, const Tensor& q, const Tensor& k, const Tensor& v, int heads, const Tensor& bias,
                        float scale);
// q, k (after norm and rotary) and v of a matrix qkv [R, 3·H·d], [R, H, d] each, for `attend`; not differentiable.
struct AttentionRows {
    Tensor q, k, v;
    AttentionRows frames(int64_t begin, int64_t end) const {
        return {q.slice(0, begin, end), k.slice(0, begin, end), v.slice(0, begin, end)};
    }
};
AttentionRows attention_rows(Ops& ops, const Tensor& qkv, int heads, const Tensor& q_norm, const Tensor& k_norm,
                             const Rotary& rotary);
// y [Rq, H·d]: the queries' rows attend to the keys' rows, sequence by sequence
void attend(Ops& ops, const Tensor& y, const AttentionRows& queries, const Sequences& of_queries,
            const AttentionRows& keys, const Sequences& of_keys);
// softmax(scale q kᵀ) itself, [H, Q, K], for pictures; q k [R, H, d] (not differentiable)
Tensor attention_weights(Ops& ops, const Tensor& q, const Tensor& k, float scale);
// x [R, H, d] (strided) → dense [R, H, d]
Tensor rms_norm_rope(Ops& ops, const Tensor& x, const Tensor& weight, const Rotary& rotary, float eps);

// ---- norm.cpp ----
struct Modulation {  // model.md §3.4, §3.5: LN(x)(1 + scale) + shift, then gate
    Tensor shift_a, scale_a, gate_a, shift_m, scale_m, gate_m;  // [groups, C]
    Tensor group;                                               // i32 [R] or absent
};
Tensor layer_norm(Ops& ops, const Tensor& x, const Tensor& scale = {}, const Tensor& shift = {},
                  const Tensor& group = {}, float eps = 1e-6f);
Tensor rms_norm(Ops& ops, const Tensor& x, const Tensor& weight, float eps);  // x […, C], T5
Tensor group_norm(Ops& ops, const Tensor& x, const Tensor& weight, const Tensor& bias, int groups, bool silu,
                  float eps);  // x [B, P, C]

// ---- elementwise.cpp ----
Tensor add(Ops& ops, const Tensor& a, const Tensor& b);  // same rank; axes of size 1 broadcast
Tensor multiply(Ops& ops, const Tensor& a, const Tensor& b);
Tensor gelu(Ops& ops, const Tensor& x);
Tensor silu(Ops& ops, const Tensor& x);
Tensor contiguous(Ops& ops, const Tensor& x);  // x itself or a dense copy (differentiable)
Tensor concatenate(Ops& ops, const std::vector<Tensor>& parts, int axis = 0);  // differentiable
Tensor gated_residual(Ops& ops, const Tensor& x, const Tensor& gate, const Tensor& group, const Tensor& residual);
void add_into(Ops& ops, const Tensor& y, const Tensor& a, const Tensor& b);  // not differentiable from here on
void copy_into(Ops& ops, const Tensor& y, const Tensor& x);
void fill(Ops& ops, const Tensor& y, double value);
void combine_into(Ops& ops, const Tensor& y, double fa, const Tensor& a, double fb = 0, const Tensor& b = {});

// ---- embedding.cpp ----
Tensor sinusoid(Ops& ops, const Tensor& x, int64_t channels);  // x [n] → [n, channels]
Tensor position_embedding_2d(Ops& ops, int64_t rows, int64_t columns, int64_t channels, double scale,
                             int64_t base_size);
Tensor rope_table(Ops& ops, const Tensor& position, const Tensor& freqs);
Tensor patchify(Ops& ops, const Tensor& x);                          // [C,N,H,W] → [N,S,4·C]; not differentiable
Tensor unpatchify(Ops& ops, const Tensor& x, const Shape& latents);  // [N,S,4·P] → [C,N,H,W], the first C of P channels
Tensor embedding(Ops& ops, const Tensor& table, const Tensor& ids);
Tensor upsample_nearest(Ops& ops, const Tensor& x);  // [T,H,W,C] → [T,2H,2W,C]

// ---- loss.cpp: `loss` is f64 [1] and is added to; these end a tape: run backward() on what they recorded ----
void squared_error(Ops& ops, const Tensor& loss, const Tensor& prediction, const Tensor& target,
                   const Tensor& frame_weight, double scale, double gradient_scale);
void reconstruction_loss(Ops& ops, const Tensor& loss, const Tensor& prediction, const Tensor& target,
                         const Tensor& weight, double l1, double mse);
void gaussian_kl(Ops& ops, const Tensor& loss, const Tensor& moments, double scale);
Tensor gaussian_sample(Ops& ops, const Tensor& moments, const Tensor& noise);  // moments [R, 2C], noise [R, C]

// ---- graph.cpp ----
// fn(ops) → tensor; with ops.checkpointing its inside is dropped and recomputed in the backward pass, bit for bit.
Tensor checkpoint(Ops& ops, const std::function<Tensor(Ops&)>& fn);
// Runs body(task ops, task) for task 0 … tasks−1, several at once; each has an arena and (when there is one) records on
// no tape of the caller.
void parallel_tasks(Ops& ops, int64_t tasks, const std::function<void(Ops&, int64_t)>& body);
// Marks flag (i32 [1]) with code + 1 when x holds a NaN or Inf and the flag is still 0.
void check_finite(Ops& ops, const Tensor& flag, const Tensor& x, int code);
// Host values as a device tensor (small: positions, groups, ids) that nobody writes to.
Tensor constant(Ops& ops, const std::vector<float>& values, const Shape& shape);
Tensor constant(Ops& ops, const std::vector<int32_t>& values, const Shape& shape);

}  // namespace vin
