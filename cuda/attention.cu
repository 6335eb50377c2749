// y = softmax(scale · q kᵀ + bias) v for each (b, h), lse = log Σ exp of the scaled scores. A block takes 4T queries
// and passes through the keys in tiles of 4T (online softmax): with the running maximum m and sum l of a query, a new
// tile multiplies what was summed before by 2^(m_old − m_new).
#include "attention.cuh"

using namespace vin::cuda;

VIN_KERNEL attention_few_kernel(Heads y, float* lse, Heads q, Heads k, Heads v, Scores bias, AttentionShape s);
VIN_KERNEL attention_kernel(Heads y, float* lse, Heads q, Heads k, Heads v, Scores bias, AttentionShape s);
VIN_KERNEL attention_wide_kernel(Heads y, float* lse, Heads q, Heads k, Heads v, Scores bias, AttentionShape s);
// The columns of a wide head are split over blocks, each of which makes the scores again: more of them in one do not
// fit the registers of a thread.
constexpr int block_parts = 4, wide_columns = 4 * product_threads * block_parts;

#if VIN_DEVICE
template <int T, int Parts>
VIN_DEVICE_FUNCTION void attend(const Heads& y, float* lse, const Heads& q, const Heads& k, const Heads& v,
                                const Scores& bias, const AttentionShape& s) {
    constexpr int lines = 4 * T, quarters = T / 4, keys_each = lines / quarters;
    const SharedArray<Float4> tiles = shared_array<Float4>(0, attention_tiles(T));
    const SharedArray<float> partial =
        shared_array<float>(shared_bytes<Float4>(attention_tiles(T)), (quarters + 1) * lines);
    const int thread = threadIdx.x, row = thread / T * 4, column = thread % T * 4;
    const i64 blocks = (s.Q + lines - 1) / lines, head = blockIdx.x / blocks, b = head / s.H, h = head % s.H,
              query = blockIdx.x % blocks * lines, first = (i64)blockIdx.y * Parts * lines;
    // In the softmax, a thread has one query and a quarter of a tile's keys.
    const int line = thread % lines, quarter = thread / lines;
    const auto weight = [&](int key) -> float& { return tiles[weights_at(T) + key * (T + 1) + line / 4].v[line % 4]; };
    float maximum = -3e38f;  // finite, so that a tile of −∞ scores leaves no NaN
    float total = 0;
    float out[Parts][4][4] = {};

    for (i64 key = 0; key < s.K; key += lines) {
        float score[4][4] = {};
        add_product<T>(score, tiles, rows_of(q, b, h, s.Q), query, rows_of(k, b, h, s.K), key, 0, s.d, thread, true);
        for (int j = 0; j < 4; j++) {
            Float4 to;
            for (int i = 0; i < 4; i++) {
                const i64 m = query + row + i, n = key + column + j;
                to.v[i] = n < s.K ? score[i][j] * (s.scale * log2_e) : minus_infinity();
                if (bias.data && m < s.Q && n < s.K)
                    to.v[i] += head_of(bias, b, h)[m * bias.query + n * bias.key] * log2_e;
            }
            tiles[weights_at(T) + (column + j) * (T + 1) + row / 4] = to;
        }
        __syncthreads();

        float most = maximum;
        for (int i = 0; i < keys_each; i++) most = fmaxf(most, weight(quarter * keys_each + i));
        partial[quarter * lines + line] = most;
        __syncthreads();
        for (int i = 0; i < quarters; i++) most = fmaxf(most, partial[i * lines + line]);
        float added = 0;
        for (int i = 0; i < keys_each; i++) {
            float& to = weight(quarter * keys_each + i);
            to = exp2f(to - most);
            added += to;
        }
        const float shrink = exp2f(maximum - most);
        if (quarter == 0) partial[quarters * lines + line] = shrink;
        total = total * shrink + added;
        maximum = most;
        __syncthreads();

        VIN_UNROLL
        for (int part = 0; part < Parts; part++) {
            if (!y.data || first + part * lines >= s.d) break;
            for (int i = 0; i < 4; i++)
                for (int j = 0; j < 4; j++) out[part][i][j] *= partial[quarters * lines + row + i];
            add_product_of_tile<T>(out[part], tiles, weights_at(T), columns_of(v, b, h, s.d), first + part * lines, key,
                                   key + lines < s.K ? key + lines : s.K, thread, first + part * lines + column < s.d);
        }
        __syncthreads();
    }

    partial[quarter * lines + line] = total;
    __syncthreads();
    const auto total_of = [&](int of) {
        float sum = 0;
        for (int i = 0; i < quarters; i++) sum += partial[i * lines + of];
        return sum;
    };
    if (lse && blockIdx.y == 0 && quarter == 0 && query + line < s.Q)
        lse[head * s.Q + query + line] = maximum * ln_2 + logf(total_of(line));
    for (int i = 0; y.data && i < 4; i++) {
        if (query + row + i >= s.Q) break;
        const float sum = total_of(row + i), inverse = sum == 0 ? 0 : 1 / sum;
        float* const to = head_of(y, b, h) + (query + row + i) * y.row;
        VIN_UNROLL
        for (int part = 0; part < Parts; part++)
            for (int j = 0; j < 4; j++)
                if (first + part * lines + column + j < s.d)
                    to[first + part * lines + column + j] = out[part][i][j] * inverse;
    }
}

VIN_KERNEL attention_few_kernel(Heads y, float* lse, Heads q, Heads k, Heads v, Scores bias, AttentionShape s) {
    attend<few_T, few_parts>(y, lse, q, k, v, bias, s);
}
VIN_EMULATED_KERNEL(attention_few_kernel)
VIN_KERNEL attention_kernel(Heads y, float* lse, Heads q, Heads k, Heads v, Scores bias, AttentionShape s) {
    attend<product_threads, narrow_parts>(y, lse, q, k, v, bias, s);
}
VIN_EMULATED_KERNEL(attention_kernel)
VIN_KERNEL attention_wide_kernel(Heads y, float* lse, Heads q, Heads k, Heads v, Scores bias, AttentionShape s) {
    attend<product_threads, block_parts>(y, lse, q, k, v, bias, s);
}
VIN_EMULATED_KERNEL(attention_wide_kernel)
#endif

#if VIN_HOST
extern "C" vin_status vin_cuda_attention(vin_stream* stream, const vin_attention_args* args) {
    const vin_tensor &q = args->q, &k = args->k;
    VIN_CHECK(expect_attention("attention", q, k, args->v, args->bias));
    const AttentionShape s = attention_shape(q, k, args->scale);
    VIN_CHECK(expect_if_present("attention", "y", args->y, VIN_DTYPE_F32, ROWS, s.B, s.H, s.Q, s.d));
    VIN_CHECK(expect_if_present("attention", "lse", args->lse, VIN_DTYPE_F32, DENSE, s.B, s.H, s.Q));
    if (s.B * s.H * s.Q == 0) return VIN_OK;
    const bool few = s.Q <= 4 * few_T && s.d <= narrow_head;
    const int T = few ? few_T : product_threads;
    const unsigned shared = shared_bytes<Float4>(attention_tiles(T)) + shared_bytes<float>((T / 4 + 1) * 4 * T);
    const auto go = [&](auto kernel, int64_t columns) {
        return launch(
            {(unsigned)(s.B * s.H * divide_up(s.Q, 4 * T)), (unsigned)(s.d > columns ? divide_up(s.d, columns) : 1)},
            {(unsigned)(T * T)}, shared, stream, kernel, heads(args->y), f32(args->lse), heads(q), heads(k),
            heads(args->v), scores(args->bias), s);
    };
    if (few) return go(VIN_KERNEL_OF(attention_few_kernel), narrow_head);
    return s.d <= narrow_head ? go(VIN_KERNEL_OF(attention_kernel), narrow_head)
                              : go(VIN_KERNEL_OF(attention_wide_kernel), wide_columns);
}
#endif
