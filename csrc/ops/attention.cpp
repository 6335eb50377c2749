// Attention over rows of a [R, H·d] matrix: norm and rotary of q and k, the flash kernel, and one gradient rule that
// writes straight into dqkv or dq and dkv.
#include <cmath>

#include "ops.h"

namespace vin {

static const vin_tensor absent = {};
static float inverse_root(int64_t width) { return static_cast<float>(1 / std::sqrt(static_cast<double>(width))); }

// q, k or v before its norm: x [R, H, d], a view of the source matrix.
struct Head {
    Tensor x, weight, rstd;
    Rotary rotary;
    Tensor normed;  // [R, H, d]; x itself without norm and rotary
    bool changed() const { return weight || rotary.table; }
};

static Head prepare(Ops& ops, const Tensor& x, const Tensor& weight, const Rotary& rotary) {
    Head head{x, weight, {}, rotary, x};
    if (!head.changed()) return head;
    head.normed = ops.empty(x.shape());
    head.rstd = ops.empty({x.size(0), x.size(1)});
    call(ops, vin_rms_norm_rope_args{head.normed.view(), head.rstd.view(), x.view(), weight.view(), rotary.table.view(),
                                     rotary.rows_per_position, 1e-6f});
    return head;
}

static void prepare_backward(Ops& ops, const Head& head, const Tensor& dnormed, const Tensor& dx) {
    if (!head.changed()) return;
    call(ops, vin_rms_norm_rope_backward_args{dx.view(), ops.tape->leaf_gradient(head.weight).view(), dnormed.view(),
                                              head.x.view(), head.rstd.view(), head.weight.view(),
                                              head.rotary.table.view(), head.rotary.rows_per_position});
}

// [R, H, d] → [B, H, L, d]
static Tensor sequences_of(const Tensor& x, const Sequences& s) {
    return x.strided({s.batch, x.size(1), s.length, x.size(2)},
                     {s.batch_stride * x.stride(0), x.stride(1), s.row_stride * x.stride(0), x.stride(2)});
}

// Part i of `s.repeats` equal parts along axis 0.
static Tensor repeat_of(const Tensor& x, const Sequences& s, int64_t i) {
    const int64_t part = x.size(0) / s.repeats;
    return x.slice(0, i * part, (i + 1) * part);
}

// The sequences of a [L, …] or a [B, L, …].
static Sequences batch_of(const Tensor& x) {
    const bool batched = x.rank() == 3;
    return {batched ? x.size(0) : 1, x.size(batched ? 1 : 0), x.size(batched ? 1 : 0), 1};
}

static Tensor heads_of(const Tensor& x, int heads, int64_t column, int64_t width) {
    const Tensor part = x.slice(1, column, column + width);
    return part.reshape({x.size(0), heads, width / heads});
}

Tensor self_attention(Ops& ops, const Tensor& qkv_, int heads, const Sequences& s, const Tensor& q_norm,
                      const Tensor& k_norm, const Rotary& rotary, int64_t key_grad_from) {
    const Tensor qkv = qkv_.rows();
    const int64_t width = qkv.size(1) / 3, rows = qkv.size(0);
    Shape shape = qkv_.shape();
    shape.back() = width;
    const Head q = prepare(ops, heads_of(qkv, heads, 0, width), q_norm, rotary),
               k = prepare(ops, heads_of(qkv, heads, width, width), k_norm, rotary);
    const Tensor v = heads_of(qkv, heads, 2 * width, width);
    const float scale = inverse_root(width / heads);
    const Tensor y = ops.empty({rows, heads, width / heads}), lse = ops.empty({s.repeats * s.batch, heads, s.length});
    const auto part = [s](const Tensor& x, int64_t i) { return sequences_of(repeat_of(x, s, i), s); };
    for (int64_t i = 0; i < s.repeats; i++)
        call(ops, vin_attention_args{part(y, i).view(), repeat_of(lse, s, i).view(), part(q.normed, i).view(),
                                     part(k.normed, i).view(), part(v, i).view(), absent, scale});
    if (ops.wants(qkv)) {
        ops.tape->record(y, [=](Ops& ops) {
            const Tensor dy = ops.tape->gradient(y);
            const Tensor dqkv = ops.empty(qkv.shape());
            const Tensor dq = heads_of(dqkv, heads, 0, width), dk = heads_of(dqkv, heads, width, width),
                         dv = heads_of(dqkv, heads, 2 * width, width);
            const Tensor dq_normed = q.changed() ? ops.empty(dq.shape()) : dq,
                         dk_normed = k.changed() ? ops.empty(dk.shape()) : dk;
            for (int64_t i = 0; i < s.repeats; i++)
                call(ops, vin_attention_backward_args{part(dq_normed, i).view(), part(dk_normed, i).view(),
                                                      part(dv, i).view(), absent, part(dy, i).view(), part(y, i).view(),
                                                      repeat_of(lse, s, i).view(), part(q.normed, i).view(),
                                                      part(k.normed, i).view(), part(v, i).view(), absent, scale,
                                                      static_cast<int32_t>(key_grad_from)});
            prepare_backward(ops, q, dq_normed, dq);
            prepare_backward(ops, k, dk_normed, dk);
            ops.tape->add(ops, qkv, dqkv);
        });
    }
    return y.reshape(shape);
}

AttentionRows attention_rows(Ops& ops, const Tensor& qkv, int heads, const Tensor& q_norm, const Tensor& k_norm,
                             const Rotary& rotary) {
    const int64_t width = qkv.size(1) / 3;
    return {prepare(ops, heads_of(qkv, heads, 0, width), q_norm, rotary).normed,
            prepare(ops, heads_of(qkv, heads, width, width), k_norm, rotary).normed,
            heads_of(qkv, heads, 2 * width, width)};
}

void attend(Ops& ops, const Tensor& y, const AttentionRows& queries, const Sequences& of_queries,
            const AttentionRows& keys, const Sequences& of_keys) {
    const int64_t heads = queries.q.size(1), d = queries.q.size(2);
    call(ops, vin_attention_args{sequences_of(y.reshape({y.size(0), heads, d}), of_queries).view(),
                                 {},
                                 sequences_of(queries.q, of_queries).view(),
                                 sequences_of(keys.k, of_keys).view(),
                                 sequences_of(keys.v, of_keys).view(),
                                 {},
                                 static_cast<float>(1 / std::sqrt(static_cast<double>(d)))});
}

Tensor cross_attention(Ops& ops, const Tensor& q_, const Tensor& kv_, int heads, const Tensor& q_norm,
                       const Tensor& k_norm) {
    const Sequences queries = batch_of(q_), keys = batch_of(kv_);
    const Tensor q_rows = q_.rows(), kv = kv_.rows();
    const int64_t width = q_rows.size(1);
    const Head q = prepare(ops, heads_of(q_rows, heads, 0, width), q_norm, {}),
               k = prepare(ops, heads_of(kv, heads, 0, width), k_norm, {});
    const Tensor v = heads_of(kv, heads, width, width);
    const float scale = inverse_root(width / heads);
    Tensor y = ops.empty(q_rows.shape()), lse = ops.empty({queries.batch, heads, queries.length});
    const Tensor y_heads = sequences_of(heads_of(y, heads, 0, width), queries);
    call(ops, vin_attention_args{y_heads.view(), lse.view(), sequences_of(q.normed, queries).view(),
                                 sequences_of(k.normed, keys).view(), sequences_of(v, keys).view(), absent, scale});
    if (ops.wants(q_rows) || ops.wants(kv)) {
        ops.tape->record(y, [=](Ops& ops) {
            const Tensor dy = heads_of(ops.tape->gradient(y), heads, 0, width);
            const Tensor dq_rows = ops.empty(q_rows.shape()), dkv = ops.empty(kv.shape());
            const Tensor dq = heads_of(dq_rows, heads, 0, width), dk = heads_of(dkv, heads, 0, width),
                         dv = heads_of(dkv, heads, width, width);
            const Tensor dq_normed = q.changed() ? ops.empty(dq.shape()) : dq,
                         dk_normed = k.changed() ? ops.empty(dk.shape()) : dk;
            call(ops, vin_attention_backward_args{
                          sequences_of(dq_normed, queries).view(), sequences_of(dk_normed, keys).view(),
                          sequences_of(dv, keys).view(), absent, sequences_of(dy, queries).view(), y_heads.view(),
                          lse.view(), sequences_of(q.normed, queries).view(), sequences_of(k.normed, keys).view(),
                          sequences_of(v, keys).view(), absent, scale, 0});
            prepare_backward(ops, q, dq_normed, dq);
            prepare_backward(ops, k, dk_normed, dk);
            ops.tape->add(ops, q_rows, dq_rows);
            ops.tape->add(ops, kv, dkv);
        });
    }
    return y.reshape(q_.shape());
}

Tensor biased_attention(Ops& ops, const Tensor& q_, const Tensor& k_, const Tensor& v_, int heads, const Tensor& bias,
                        float scale) {
    const Sequences queries = batch_of(q_), keys = batch_of(k_);
    const Tensor q = q_.rows(), k = k_.rows(), v = v_.rows();
    const auto split = [heads](const Tensor& x, const Sequences& s) {
        return sequences_of(heads_of(x, heads, 0, x.size(1)), s);
    };
    // One bias for each of the batch: stride 0.
    const auto batched = [queries](const Tensor& b) {
        return b ? b.reshape({1, b.size(0), b.size(1), b.size(2)})
                       .expand({queries.batch, b.size(0), b.size(1), b.size(2)})
                 : b;
    };
    Tensor y = ops.empty(q.shape()), lse = ops.empty({queries.batch, heads, queries.length});
    call(ops, vin_attention_args{split(y, queries).view(), lse.view(), split(q, queries).view(), split(k, keys).view(),
                                 split(v, keys).view(), batched(bias).view(), scale});
    if (ops.wants(q) || ops.wants(k) || ops.wants(v) || ops.wants(bias)) {
        ops.tape->record(y, [=](Ops& ops) {
            Tape& tape = *ops.tape;
            const Tensor dq = ops.empty(q.shape()), dk = ops.empty(k.shape()), dv = ops.empty(v.shape());
            const Tensor dbias = tape.wants(bias) ? tape.begin(ops, bias) : Tensor();
            call(ops, vin_attention_backward_args{split(dq, queries).view(), split(dk, keys).view(),
                                                  split(dv, keys).view(), batched(dbias).view(),
                                                  split(tape.gradient(y), queries).view(), split(y, queries).view(),
                                                  lse.view(), split(q, queries).view(), split(k, keys).view(),
                                                  split(v, keys).view(), batched(bias).view(), scale, 0});
            tape.add(ops, q, dq);
            tape.add(ops, k, dk);
            tape.add(ops, v, dv);
        });
    }
    return y.reshape(q_.shape());
}

// The kernel never stores softmax(q kᵀ); with columns of the identity as v it hands it out, as many keys at a time as a
// head is wide.
Tensor attention_weights(Ops& ops, const Tensor& q, const Tensor& k, float scale) {
    const int64_t queries = q.size(0), keys = k.size(0), heads = q.size(1), width = q.size(2);
    const Sequences q_rows{1, queries, 0, 1}, k_rows{1, keys, 0, 1};
    Tensor weights = ops.empty({1, heads, queries, (keys + width - 1) / width * width}),
           lse = ops.empty({1, heads, queries});
    for (int64_t begin = 0; begin < keys; begin += width) {
        std::vector<float> identity(static_cast<size_t>(keys * width), 0.f);
        for (int64_t key = begin; key < std::min(keys, begin + width); key++)
            identity[static_cast<size_t>(key * width + key - begin)] = 1;
        const Tensor v = constant(ops, identity, {1, 1, keys, width}).expand({1, heads, keys, width});
        call(ops, vin_attention_args{weights.slice(3, begin, begin + width).view(), lse.view(),
                                     sequences_of(q, q_rows).view(), sequences_of(k, k_rows).view(), v.view(), absent,
                                     scale});
    }
    return contiguous(ops, weights.slice(3, 0, keys)).reshape({heads, queries, keys});
}

}  // namespace vin
