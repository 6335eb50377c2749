// Gradients of attention. With P = exp(scale · q kᵀ + bias − lse) and D = Σ_d dy ∘ y per query:
//   dP = dy vᵀ,  dS = P ∘ (dP − D),  dv = Pᵀ dy,  dq = scale · dS k,  dk = scale · dSᵀ q,  dbias += dS.
// P is computed again, tile by tile. Work is split by (b, h); where these are few, also by keys: each part of the keys
// then leaves its share of dq in scratch memory, and the shares are added in order.
#include "attention.h"

namespace vin::cpu::VIN_CPU_ISA {

// Scratch of one (b, h) and part of the keys.
struct KeyPart {
    float *packed_q, *packed_dy;  // panels [d][tile_columns] per tile_columns of queries
    float *panels_q, *panels_dy;  // panels [queries][tile_columns] per tile_columns of d
    float* panels_k;              // panels [keys][tile_columns] per tile_columns of d
    float *weights, *slopes;      // Pᵀ and dSᵀ [key_block][query_block]
    float *lse, *inner;           // [query_block]: lse in base 2, and D
    float *dq, *dk, *dv;          // sums [rows][stride]
    int64_t stride;
};

// Gives every array its place behind `memory`; returns the floats needed. memory may be null to ask for those.
static int64_t lay_out(KeyPart* part, float* memory, int64_t d, int64_t keys) {
    const int64_t padded = round_up(d, tile_columns), stride = round_up(d, W);
    int64_t used = 0;
    const auto take = [&](int64_t floats) {
        float* const taken = memory ? memory + used : nullptr;
        used += round_up(floats, 16);
        return taken;
    };
    *part = {take(query_block * d),
             take(query_block * d),
             take(query_block * padded),
             take(query_block * padded),
             take(key_block * padded),
             take(key_block * query_block),
             take(key_block * query_block),
             take(query_block),
             take(query_block),
             take(query_block * stride),
             take(keys * stride),
             take(keys * stride),
             stride};
    return used;
}

// weights: Sᵀ in base 2 → Pᵀ; slopes: dPᵀ → dSᵀ.
static void differentiate(const KeyPart& part, int64_t queries, int64_t keys) {
    for (int64_t m = 0; m < keys; m++)
        for (int64_t n = 0; n < queries; n += W) {
            float *const weight = part.weights + m * query_block + n, *const slope = part.slopes + m * query_block + n;
            const vf p = exp2(load(weight) - load(part.lse + n));
            store(weight, p);
            store(slope, p * (load(slope) - load(part.inner + n)));
        }
}

static void add_slopes(const vin_tensor& dbias, const KeyPart& part, int64_t b, int64_t h, int64_t query,
                       int64_t queries, int64_t key, int64_t keys) {
    float* const to = at(dbias, b, h, query) + key * dbias.stride[3];
    for (int64_t n = 0; n < queries; n++)
        for (int64_t m = 0; m < keys; m++)
            to[n * dbias.stride[2] + m * dbias.stride[3]] += part.slopes[m * query_block + n];
}

static void store_rows(const HeadRows& to, int64_t row, int64_t rows, const float* sums, int64_t stride, int64_t d,
                       float factor) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < d; i += W)
            store_up_to(to.row(row + r) + i, load(sums + r * stride + i) * set1(factor), d - i);
}

// Rows first … from are 0.
static void store_key_rows(const HeadRows& to, int64_t first, int64_t from, int64_t last, const float* sums,
                           int64_t stride, int64_t d, float factor) {
    for (int64_t r = first; r < from; r++) memset(to.row(r), 0, (size_t)d * sizeof(float));
    store_rows(to, from, last - from, sums, stride, d, factor);
}

// All queries of (b, h) against keys first … last. dq is where this part's share of dq goes.
static void differentiate_part(const KeyPart& part, const vin_attention_backward_args& args, int64_t b, int64_t h,
                               int64_t first, int64_t last, const HeadRows& dq) {
    const int64_t H = args.q.shape[1], Q = args.q.shape[2], d = args.q.shape[3],
                  from = max(first, (int64_t)args.key_grad_from);
    const HeadRows q = head_rows(args.q, b, h), k = head_rows(args.k, b, h), v = head_rows(args.v, b, h),
                   dy = head_rows(args.dy, b, h), y = head_rows(args.y, b, h);
    const bool any_dk = present(args.dk) && from < last, any_dv = present(args.dv) && from < last;
    if (any_dk) memset(part.dk, 0, (size_t)((last - from) * part.stride) * sizeof(float));
    if (any_dv) memset(part.dv, 0, (size_t)((last - from) * part.stride) * sizeof(float));
    for (int64_t query = 0; query < Q; query += query_block) {
        const int64_t queries = min(query_block, Q - query), padded_queries = round_up(queries, W);
        pack_queries(part.packed_q, q, query, queries, d, args.scale * log2_e);
        pack_queries(part.packed_dy, dy, query, queries, d, 1);
        if (any_dk) LinesAcrossK{q.data, q.stride}.pack<tile_columns>(part.panels_q, 0, d, query, queries);
        if (any_dv) LinesAcrossK{dy.data, dy.stride}.pack<tile_columns>(part.panels_dy, 0, d, query, queries);
        memset(part.dq, 0, (size_t)(queries * part.stride) * sizeof(float));
        for (int64_t n = 0; n < padded_queries; n++) {
            const float lse = n < queries ? f32(args.lse)[(b * H + h) * Q + query + n] : 0;
            part.lse[n] = lse == -INFINITY ? 0 : lse * log2_e;  // no key has weight: 2^(−∞ − 0) = 0
            vf inner = {};
            if (n < queries)
                for (int64_t i = 0; i < d; i += W)
                    inner += load_up_to(dy.row(query + n) + i, d - i) * load_up_to(y.row(query + n) + i, d - i);
            part.inner[n] = sum(inner);
        }
        for (int64_t key = first; key < last; key += key_block) {
            const int64_t keys = min(key_block, last - key), skipped = min(keys, max(0, from - key)),
                          at = key + skipped - from;
            multiply_heads(part.weights, query_block, k, key, keys, part.packed_q, padded_queries, d);
            if (present(args.bias)) add_bias(part.weights, query_block, args.bias, b, h, query, queries, key, keys);
            multiply_heads(part.slopes, query_block, v, key, keys, part.packed_dy, padded_queries, d);
            differentiate(part, padded_queries, keys);
            if (present(args.dbias)) add_slopes(args.dbias, part, b, h, query, queries, key, keys);
            if (any_dv)
                add_over_queries(part.dv + at * part.stride, part.stride, part.weights + skipped * query_block,
                                 query_block, keys - skipped, part.panels_dy, queries, d);
            if (any_dk)
                add_over_queries(part.dk + at * part.stride, part.stride, part.slopes + skipped * query_block,
                                 query_block, keys - skipped, part.panels_q, queries, d);
            if (dq.data) {
                LinesAcrossK{k.data, k.stride}.pack<tile_columns>(part.panels_k, 0, d, key, keys);
                add_over_keys(part.dq, part.stride, part.slopes, query_block, queries, part.panels_k, keys, d);
            }
        }
        if (dq.data) store_rows(dq, query, queries, part.dq, part.stride, d, args.scale);
    }
    const int64_t learning = max(0, last - from);
    if (present(args.dk))
        store_key_rows(head_rows(args.dk, b, h), first, last - learning, last, part.dk, part.stride, d, args.scale);
    if (present(args.dv))
        store_key_rows(head_rows(args.dv, b, h), first, last - learning, last, part.dv, part.stride, d, 1);
}

vin_status attention_backward(vin_stream* stream, const vin_attention_backward_args* args) {
    if (vin_status status = expect_attention(args->q, args->k, args->v, args->bias)) return status;
    const int64_t B = args->q.shape[0], H = args->q.shape[1], Q = args->q.shape[2], d = args->q.shape[3],
                  K = args->k.shape[2];
    if (vin_status status = expect("dy", args->dy, VIN_ROWS, B, H, Q, d)) return status;
    if (vin_status status = expect("y", args->y, VIN_ROWS, B, H, Q, d)) return status;
    if (vin_status status = expect("lse", args->lse, VIN_DENSE, B, H, Q)) return status;
    if (vin_status status = expect_if_present("dq", args->dq, VIN_ROWS, B, H, Q, d)) return status;
    if (vin_status status = expect_if_present("dk", args->dk, VIN_ROWS, B, H, K, d)) return status;
    if (vin_status status = expect_if_present("dv", args->dv, VIN_ROWS, B, H, K, d)) return status;
    if (vin_status status = expect_if_present("dbias", args->dbias, VIN_STRIDED, B, H, Q, K)) return status;
    if (B == 0 || H == 0) return VIN_OK;

    // Heads that add to one element of dbias are summed by one task, one after the other.
    const int64_t b_shared = present(args->dbias) && args->dbias.stride[0] == 0 ? B : 1,
                  h_shared = present(args->dbias) && args->dbias.stride[1] == 0 ? H : 1;
    const int64_t owners = B / b_shared * (H / h_shared), shared = b_shared * h_shared;
    const bool whole = shared > 1 || (present(args->dbias) && args->dbias.stride[3] == 0);
    const int64_t wanted = whole ? 1 : max(1, min(divide_up(16, owners), K / (2 * key_block)));
    const int64_t keys = max(1, wanted == 1 ? K : round_up(divide_up(K, wanted), tile_rows)),
                  parts = max(1, divide_up(K, keys));
    const int64_t items = owners * parts,
                  items_per_task = max(1, min_task_products / max(1, 5 * shared * Q * keys * d));
    float* const shares =
        parts > 1 && present(args->dq) ? scratch(stream, slot_partial_sums, parts * B * H * Q * d) : nullptr;
    if (parts > 1 && present(args->dq) && !shares) return vin_cpu_no_memory();
    Failure failure;
    parallel(stream, divide_up(items, items_per_task), [&](int64_t task) {
        KeyPart part;
        float* const memory = scratch(stream, slot_task_a, lay_out(&part, nullptr, d, keys));
        if (!memory) return failure.raise();
        lay_out(&part, memory, d, keys);
        for (int64_t item = task * items_per_task; item < min(items, (task + 1) * items_per_task); item++) {
            const int64_t owner = item / parts, index = item % parts;
            for (int64_t i = 0; i < shared; i++) {
                const int64_t b = b_shared > 1 ? i / h_shared : owner / (H / h_shared),
                              h = h_shared > 1 ? i % h_shared : owner % (H / h_shared);
                HeadRows dq = {nullptr, d};
                if (shares)
                    dq.data = shares + ((index * B + b) * H + h) * Q * d;
                else if (present(args->dq))
                    dq = head_rows(args->dq, b, h);
                differentiate_part(part, *args, b, h, index * keys, min(K, (index + 1) * keys), dq);
            }
        }
    });
    if (shares && !failure.flag)
        each_row(stream, B * H * Q, parts * d, [&](int64_t row) {
            float* const to = head_rows(args->dq, row / Q / H, row / Q % H).row(row % Q);
            for (int64_t i = 0; i < d; i += W) {
                vf total = load_up_to(shares + row * d + i, d - i);
                for (int64_t index = 1; index < parts; index++)
                    total += load_up_to(shares + (index * B * H * Q + row) * d + i, d - i);
                store_up_to(to + i, total, d - i);
            }
        });
    return failure.status();
}

}  // namespace vin::cpu::VIN_CPU_ISA
