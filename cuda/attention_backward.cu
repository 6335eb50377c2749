// Gradients of attention. With P = exp(scale · q kᵀ + bias − lse) and D = Σ_d dy ∘ y per query:
//   dP = dy vᵀ,  dS = P ∘ (dP − D),  dv = Pᵀ dy,  dq = scale · dS k,  dk = scale · dSᵀ q,  dbias += dS.
// P is computed again, tile by tile, for each of the four: no number is added to by two blocks, and each sum has one
// order.
#include "attention.cuh"
#include "reduce.cuh"
#include "rows.cuh"

using namespace vin::cuda;

// The rows of a tile of weights, or its columns: queries or keys. S = scale · Σ_d score · score of the other side, dP =
// Σ_d slope · slope of the other side.
struct GradientSide {
    Heads score, slope;
    i64 rows, bias_stride;
};
// W(m, n) = dS or P, where either m or n are queries; gradient[m] = factor · Σ_n W(m, n) · z[n].
struct AttentionGradient {
    Heads gradient, z;
    GradientSide m, n;
    int queries_are_rows, slopes;  // slopes: W = dS, else P
    const float *lse, *inner;      // [B, H, Q]
    Scores bias;
    i64 H, Q, first;  // rows before `first` get 0
    int d;
    float scale, factor;
};

VIN_KERNEL attention_inner_kernel(float* inner, Heads dy, Heads y, i64 H, i64 Q, i64 rows, int d);
// T and the tiles of 4T columns are those of attention.cu.
VIN_KERNEL attention_gradient_few_kernel(AttentionGradient g);
VIN_KERNEL attention_gradient_kernel(AttentionGradient g);
VIN_KERNEL attention_gradient_wide_kernel(AttentionGradient g);
VIN_KERNEL attention_bias_gradient_kernel(Scores dbias, i64 B, AttentionGradient g);

#if VIN_DEVICE
// D, a query per 32 threads.
VIN_KERNEL attention_inner_kernel(float* inner, Heads dy, Heads y, i64 H, i64 Q, i64 rows, int d) {
    const SharedArray<float> sums = shared_array<float>(0, row_lanes * rows_per_block);
    const RowPlace place = row_place();
    const i64 head = place.r / Q, query = place.r - head * Q, b = head / H, h = head - b * H;
    float sum = 0;
    for (int i = place.lane; place.r < rows && i < d; i += row_lanes)
        sum += head_of(dy, b, h)[query * dy.row + i] * head_of(y, b, h)[query * y.row + i];
    const float total = row_sum(sums, place, sum);
    if (place.r < rows && place.lane == 0) inner[place.r] = total;
}
VIN_EMULATED_KERNEL(attention_inner_kernel)

// weight[i][j] = W of row m + 4y + i and column n + 4x + j, 0 where there is none.
template <int T>
VIN_DEVICE_FUNCTION void weigh(float (&weight)[4][4], const AttentionGradient& g, const SharedArray<Float4>& tiles,
                               i64 b, i64 h, i64 m, i64 n, int thread) {
    float score[4][4] = {}, slope[4][4] = {};
    add_product<T>(score, tiles, rows_of(g.m.score, b, h, g.m.rows), m, rows_of(g.n.score, b, h, g.n.rows), n, 0, g.d,
                   thread, true);
    if (g.slopes)
        add_product<T>(slope, tiles, rows_of(g.m.slope, b, h, g.m.rows), m, rows_of(g.n.slope, b, h, g.n.rows), n, 0,
                       g.d, thread, true);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            const i64 row = m + thread / T * 4 + i, column = n + thread % T * 4 + j;
            weight[i][j] = 0;
            if (row >= g.m.rows || column >= g.n.rows) continue;
            const i64 query = (b * g.H + h) * g.Q + (g.queries_are_rows ? row : column);
            float s = score[i][j] * (g.scale * log2_e);
            if (g.bias.data) s += head_of(g.bias, b, h)[row * g.m.bias_stride + column * g.n.bias_stride] * log2_e;
            const float lse = g.lse[query];
            const float p = exp2f(lse == minus_infinity() ? s : s - lse * log2_e);  // −∞: no key has weight, nor s
            weight[i][j] = g.slopes ? p * (slope[i][j] - g.inner[query]) : p;
        }
}

// The tile of weights in shared memory: [4T columns][4T rows].
template <int T>
VIN_DEVICE_FUNCTION void keep_weights(const SharedArray<Float4>& tiles, const float (&weight)[4][4], int thread) {
    for (int j = 0; j < 4; j++) {
        Float4 to;
        for (int i = 0; i < 4; i++) to.v[i] = weight[i][j];
        tiles[weights_at(T) + (thread % T * 4 + j) * (T + 1) + thread / T] = to;
    }
}

template <int T, int Parts>
VIN_DEVICE_FUNCTION void add_gradient(const AttentionGradient& g) {
    constexpr int lines = 4 * T;
    const SharedArray<Float4> tiles = shared_array<Float4>(0, attention_tiles(T));
    const int thread = threadIdx.x, column = thread % T * 4;
    const i64 blocks = (g.m.rows + lines - 1) / lines, head = blockIdx.x / blocks, b = head / g.H, h = head - b * g.H,
              m = blockIdx.x % blocks * lines;
    float out[Parts][4][4] = {};
    for (i64 n = 0; m + lines > g.first && n < g.n.rows; n += lines) {
        float weight[4][4];
        weigh<T>(weight, g, tiles, b, h, m, n, thread);
        keep_weights<T>(tiles, weight, thread);
        __syncthreads();
        VIN_UNROLL
        for (int part = 0; part < Parts; part++) {
            if (part * lines >= g.d) break;
            add_product_of_tile<T>(out[part], tiles, weights_at(T), columns_of(g.z, b, h, g.d), part * lines, n,
                                   n + lines < g.n.rows ? n + lines : g.n.rows, thread, part * lines + column < g.d);
        }
    }
    for (int i = 0; i < 4; i++) {
        const i64 row = m + thread / T * 4 + i;
        if (row >= g.m.rows) continue;
        float* const to = head_of(g.gradient, b, h) + row * g.gradient.row;
        VIN_UNROLL
        for (int part = 0; part < Parts; part++)
            for (int j = 0; j < 4; j++)
                if (part * lines + column + j < g.d)
                    to[part * lines + column + j] = row < g.first ? 0 : out[part][i][j] * g.factor;
    }
}

VIN_KERNEL attention_gradient_few_kernel(AttentionGradient g) { add_gradient<few_T, few_parts>(g); }
VIN_EMULATED_KERNEL(attention_gradient_few_kernel)
VIN_KERNEL attention_gradient_kernel(AttentionGradient g) { add_gradient<product_threads, narrow_parts>(g); }
VIN_EMULATED_KERNEL(attention_gradient_kernel)
VIN_KERNEL attention_gradient_wide_kernel(AttentionGradient g) { add_gradient<product_threads, wide_parts>(g); }
VIN_EMULATED_KERNEL(attention_gradient_wide_kernel)

// A block takes a tile of dbias; along an axis of stride 0 it passes through all there is, ascending.
VIN_KERNEL attention_bias_gradient_kernel(Scores dbias, i64 B, AttentionGradient g) {
    constexpr int T = product_threads, lines = 4 * T;
    const SharedArray<Float4> tiles = shared_array<Float4>(0, attention_tiles(T));
    const int thread = threadIdx.x;
    const bool each_q = dbias.query != 0, each_k = dbias.key != 0, each_b = dbias.batch != 0, each_h = dbias.head != 0;
    const i64 tiles_q = each_q ? (g.m.rows + lines - 1) / lines : 1,
              tiles_k = each_k ? (g.n.rows + lines - 1) / lines : 1, heads = each_h ? g.H : 1;
    const i64 block = blockIdx.x, block_k = block % tiles_k * lines, block_q = block / tiles_k % tiles_q * lines,
              block_h = block / tiles_k / tiles_q % heads, block_b = block / tiles_k / tiles_q / heads;
    float total[4][4] = {};
    for (i64 b = block_b; b < (each_b ? block_b + 1 : B); b++)
        for (i64 h = block_h; h < (each_h ? block_h + 1 : g.H); h++)
            for (i64 q = block_q; q < (each_q ? block_q + 1 : g.m.rows); q += lines)
                for (i64 k = block_k; k < (each_k ? block_k + 1 : g.n.rows); k += lines) {
                    float weight[4][4];
                    weigh<T>(weight, g, tiles, b, h, q, k, thread);
                    for (int i = 0; i < 4; i++)
                        for (int j = 0; j < 4; j++) total[i][j] += weight[i][j];
                }
    keep_weights<T>(tiles, total, thread);
    __syncthreads();
    // A thread per element of a line, or of the tile: then a line after the other.
    float* const to = head_of(dbias, block_b, block_h) + block_q * dbias.query + block_k * dbias.key;
    const int own_q = each_q ? lines : 1, own_k = each_k ? lines : 1;
    for (int i = thread; i < own_q * own_k; i += T * T) {
        const int q = i / own_k, k = i % own_k;
        if (block_q + q >= g.m.rows || block_k + k >= g.n.rows) continue;
        float sum = 0;
        for (int at_q = q; at_q < (each_q ? q + 1 : lines); at_q++)
            for (int at_k = k; at_k < (each_k ? k + 1 : lines); at_k++)
                sum += tiles[weights_at(T) + at_k * (T + 1) + at_q / 4].v[at_q % 4];
        to[q * dbias.query + k * dbias.key] += sum;
    }
}
VIN_EMULATED_KERNEL(attention_bias_gradient_kernel)
#endif

#if VIN_HOST
static vin_status launch_gradient(vin_stream* stream, int64_t heads, const AttentionGradient& g) {
    if (heads * g.m.rows == 0 || g.d == 0) return VIN_OK;
    const auto go = [&](int T, auto kernel) {
        return launch({(unsigned)(heads * divide_up(g.m.rows, 4 * T))}, {(unsigned)(T * T)},
                      shared_bytes<Float4>(attention_tiles(T)), stream, kernel, g);
    };
    if (g.m.rows <= 4 * few_T && g.d <= narrow_head) return go(few_T, VIN_KERNEL_OF(attention_gradient_few_kernel));
    return g.d <= narrow_head ? go(product_threads, VIN_KERNEL_OF(attention_gradient_kernel))
                              : go(product_threads, VIN_KERNEL_OF(attention_gradient_wide_kernel));
}

extern "C" vin_status vin_cuda_attention_backward(vin_stream* stream, const vin_attention_backward_args* args) {
    const char* const op = "attention_backward";
    const vin_tensor &q = args->q, &k = args->k, &v = args->v, &dbias = args->dbias;
    VIN_CHECK(expect_attention(op, q, k, v, args->bias));
    const AttentionShape s = attention_shape(q, k, args->scale);
    VIN_CHECK(expect(op, "dy", args->dy, VIN_DTYPE_F32, ROWS, s.B, s.H, s.Q, s.d));
    VIN_CHECK(expect(op, "y", args->y, VIN_DTYPE_F32, ROWS, s.B, s.H, s.Q, s.d));
    VIN_CHECK(expect(op, "lse", args->lse, VIN_DTYPE_F32, DENSE, s.B, s.H, s.Q));
    VIN_CHECK(expect_if_present(op, "dq", args->dq, VIN_DTYPE_F32, ROWS, s.B, s.H, s.Q, s.d));
    VIN_CHECK(expect_if_present(op, "dk", args->dk, VIN_DTYPE_F32, ROWS, s.B, s.H, s.K, s.d));
    VIN_CHECK(expect_if_present(op, "dv", args->dv, VIN_DTYPE_F32, ROWS, s.B, s.H, s.K, s.d));
    VIN_CHECK(expect_if_present(op, "dbias", dbias, VIN_DTYPE_F32, STRIDED, s.B, s.H, s.Q, s.K));
    const int64_t all_heads = s.B * s.H, rows = all_heads * s.Q;
    if (all_heads == 0) return VIN_OK;

    float* inner;
    VIN_CHECK(scratch_of(stream, rows, &inner));
    if (rows > 0)
        VIN_CHECK(launch(row_grid(rows), row_block, row_shared_bytes(), stream, VIN_KERNEL_OF(attention_inner_kernel),
                         inner, heads(args->dy), heads(args->y), s.H, s.Q, rows, s.d));
    const Scores bias = scores(args->bias);
    const GradientSide queries = {heads(q), heads(args->dy), s.Q, bias.query},
                       keys = {heads(k), heads(v), s.K, bias.key};
    const AttentionGradient by_query = {heads(args->dq), heads(k), queries, keys, 1, 1,   f32(args->lse),
                                        inner,           bias,     s.H,     s.Q,  0, s.d, s.scale,
                                        s.scale};
    AttentionGradient by_key = by_query;
    by_key.m = keys;
    by_key.n = queries;
    by_key.queries_are_rows = 0;
    by_key.first = args->key_grad_from;
    if (present(args->dq)) VIN_CHECK(launch_gradient(stream, all_heads, by_query));
    if (present(args->dk)) {
        by_key.gradient = heads(args->dk);
        by_key.z = heads(q);
        VIN_CHECK(launch_gradient(stream, all_heads, by_key));
    }
    if (present(args->dv)) {
        by_key.gradient = heads(args->dv);
        by_key.z = heads(args->dy);
        by_key.slopes = 0;
        by_key.factor = 1;
        VIN_CHECK(launch_gradient(stream, all_heads, by_key));
    }
    if (!present(dbias) || s.Q == 0 || s.K == 0) return VIN_OK;
    const auto kept = [&](int axis, int64_t size) { return dbias.stride[axis] == 0 ? 1 : size; };
    const int64_t blocks =
        kept(0, s.B) * kept(1, s.H) * kept(2, divide_up(s.Q, product_tile)) * kept(3, divide_up(s.K, product_tile));
    return launch({(unsigned)blocks}, product_block, shared_bytes<Float4>(attention_tiles(product_threads)), stream,
                  VIN_KERNEL_OF(attention_bias_gradient_kernel), scores(dbias), s.B, by_query);
}
#endif
