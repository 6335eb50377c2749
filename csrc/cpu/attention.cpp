// y = softmax(scale · q kᵀ + bias) v for each (b, h), lse = log Σ exp of the scaled scores. Scores live in tiles of 96
// keys × 96 queries only (online softmax): with the running maximum m and sum l of a query, a new tile multiplies what
// was summed before by 2^(m_old − m_new).
#include "attention.h"

namespace vin::cpu::VIN_CPU_ISA {

// Scratch of one block of queries.
struct QueryBlock {
    float* packed_q;                  // panels [d][tile_columns]
    float* scores;                    // [key_block][stride]
    float* panels_v;                  // [keys][tile_columns] per tile_columns of d
    float* sums;                      // [queries][sums_stride]
    float *maximum, *total, *shrink;  // [stride] each; base 2
    int64_t stride, sums_stride;
};

// Turns a tile of scores into weights 2^(s − m) and updates m and l. Two vectors of queries at a time hide the latency
// of a maximum.
static void update_softmax(const QueryBlock& block, int64_t keys) {
    for (int64_t n = 0; n < block.stride; n += W) {
        float* const column = block.scores + n;
        const vf before = load(block.maximum + n);
        vf most[2] = {before, before};
        int64_t m = 0;
        for (; m + 2 <= keys; m += 2)
            for (int i = 0; i < 2; i++) most[i] = max(load(column + (m + i) * block.stride), most[i]);
        if (m < keys) most[0] = max(load(column + m * block.stride), most[0]);
        const vf now = max(most[0], most[1]);
        vf added[2] = {};
        for (m = 0; m + 2 <= keys; m += 2)
            for (int i = 0; i < 2; i++) {
                const vf weight = exp2(load(column + (m + i) * block.stride) - now);
                added[i] += weight;
                store(column + (m + i) * block.stride, weight);
            }
        if (m < keys) {
            const vf weight = exp2(load(column + m * block.stride) - now);
            added[0] += weight;
            store(column + m * block.stride, weight);
        }
        const vf shrink = exp2(before - now);
        store(block.shrink + n, shrink);
        store(block.maximum + n, now);
        store(block.total + n, load(block.total + n) * shrink + (added[0] + added[1]));
    }
}

static void attend(const QueryBlock& block, const vin_attention_args& args, int64_t b, int64_t h, int64_t query,
                   int64_t queries) {
    const int64_t K = args.k.shape[2], d = args.q.shape[3], Q = args.q.shape[2];
    const HeadRows q = head_rows(args.q, b, h), k = head_rows(args.k, b, h), v = head_rows(args.v, b, h);
    pack_queries(block.packed_q, q, query, queries, d, args.scale * log2_e);
    for (int64_t n = 0; n < block.stride; n++) {
        block.maximum[n] = -3e38f;  // finite, so that a tile of −∞ scores leaves no NaN
        block.total[n] = 0;
    }
    memset(block.sums, 0, (size_t)(queries * block.sums_stride) * sizeof(float));
    for (int64_t key = 0; key < K; key += key_block) {
        const int64_t keys = min(key_block, K - key);
        multiply_heads(block.scores, block.stride, k, key, keys, block.packed_q, block.stride, d);
        if (present(args.bias)) add_bias(block.scores, block.stride, args.bias, b, h, query, queries, key, keys);
        update_softmax(block, keys);
        if (key > 0)
            for (int64_t n = 0; n < queries; n++)
                for (int64_t i = 0; i < block.sums_stride; i += W) {
                    float* const at = block.sums + n * block.sums_stride + i;
                    store(at, load(at) * set1(block.shrink[n]));
                }
        if (!present(args.y)) continue;
        LinesAcrossK{v.data, v.stride}.pack<tile_columns>(block.panels_v, 0, d, key, keys);
        add_over_keys(block.sums, block.sums_stride, block.scores, block.stride, queries, block.panels_v, keys, d);
    }
    if (present(args.lse))
        for (int64_t n = 0; n < queries; n++)
            f32(args.lse)[((b * args.q.shape[1] + h) * Q + query + n)] = block.maximum[n] * ln_2 + logf(block.total[n]);
    if (present(args.y)) {
        const HeadRows y = head_rows(args.y, b, h);
        for (int64_t n = 0; n < queries; n++) {
            const vf inverse = set1(block.total[n] == 0 ? 0 : 1 / block.total[n]);
            for (int64_t i = 0; i < d; i += W)
                store_up_to(y.row(query + n) + i, load(block.sums + n * block.sums_stride + i) * inverse, d - i);
        }
    }
}

vin_status attention(vin_stream* stream, const vin_attention_args* args) {
    if (vin_status status = expect_attention(args->q, args->k, args->v, args->bias)) return status;
    const int64_t B = args->q.shape[0], H = args->q.shape[1], Q = args->q.shape[2], d = args->q.shape[3],
                  K = args->k.shape[2];
    if (vin_status status = expect_if_present("y", args->y, VIN_ROWS, B, H, Q, d)) return status;
    if (vin_status status = expect_if_present("lse", args->lse, VIN_DENSE, B, H, Q)) return status;
    if (B == 0 || H == 0 || Q == 0) return VIN_OK;

    // Small heads (temporal attention: 20 × 20) share a task.
    const int64_t queries = even_part(Q, query_block, W), blocks = divide_up(Q, queries);
    const int64_t items = B * H * blocks, items_per_task = max(1, min_task_products / max(1, 2 * queries * K * d));
    const int64_t padded_d = round_up(d, tile_columns), stride = queries, sums_stride = round_up(d, W);
    Failure failure;
    parallel(stream, divide_up(items, items_per_task), [&](int64_t task) {
        const int64_t packed = round_up(queries, tile_columns) * d, scores = key_block * stride,
                      panels = key_block * padded_d, sums = queries * sums_stride;
        float* at = scratch(stream, slot_task_a, packed + scores + panels + sums + 3 * stride);
        if (!at) return failure.raise();
        QueryBlock block = {at,      at + packed, at + packed + scores, at + packed + scores + panels, nullptr, nullptr,
                            nullptr, stride,      sums_stride};
        block.maximum = block.sums + sums;
        block.total = block.maximum + stride;
        block.shrink = block.total + stride;
        for (int64_t item = task * items_per_task; item < min(items, (task + 1) * items_per_task); item++) {
            const int64_t query = item % blocks * queries, head = item / blocks;
            attend(block, *args, head / H, head % H, query, min(queries, Q - query));
        }
    });
    return failure.status();
}

}  // namespace vin::cpu::VIN_CPU_ISA
