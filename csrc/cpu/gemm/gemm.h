// C[M, N] = A[M, K] · B[K, N], with A and B as the packers of pack.h give them and C as `out` takes it, tile by tile:
//   void out(const float* tile, int64_t row, int rows, int64_t column, int columns) const      tile rows are
//   tile_columns apart
// and, where it has that, void out.fetch(row, rows, column, columns) const, which asks for a tile's lines of C while
// its products run: a large C is not in the cache. Tiles, blocks and the order of sums follow from M, N and K alone.
#pragma once
#include "../check.h"
#include "kernel.h"
#include "pack.h"

namespace vin::cpu::VIN_CPU_ISA {

// Scratch slots: those of the calling thread live as long as the call, those of a task as long as the task; a thread
// may be both.
enum { slot_packed_b = 0, slot_partial_sums = 1, slot_task_a = 2, slot_task_b = 3, slot_task_c = 4 };

constexpr int64_t max_depth = 384;       // of one pass: a panel of B (24 KiB for AVX2) stays in the first-level cache
constexpr int64_t max_block_rows = 144;  // of packed A: 216 KiB stay in the second-level cache; divides by 4, 6 and 12
constexpr int64_t max_block_columns = 1024;        // of a task: its sums stay near between passes
constexpr int64_t max_packed_b = 4 << 20;          // floats of B packed at once
constexpr int64_t min_task_products = 1536 << 10;  // a task is worth handing to a thread from about 30 µs on
constexpr int64_t enough_tasks = 24;
// Up to here packing a panel of B anew for every task costs less than sharing it.
constexpr int64_t max_panel_rows = 512;
constexpr int64_t min_panel_rows = 96;

static inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

// `length` in ⌈length / largest⌉ parts of nearly equal size, a multiple of `unit`.
static inline int64_t even_part(int64_t length, int64_t largest, int64_t unit) {
    const int64_t parts = max(1, divide_up(length, largest));
    return max(unit, round_up(divide_up(length, parts), unit));
}

template <class Out>
static inline auto fetch(const Out& out, int64_t row, int rows, int64_t column, int columns, int)
    -> decltype(out.fetch(row, rows, column, columns)) {
    out.fetch(row, rows, column, columns);
}
template <class Out>
static inline void fetch(const Out&, int64_t, int, int64_t, int, long) {}

struct Blocks {
    int64_t rows, columns;
};
// The output in tasks: first split by rows, which share packed B, then by columns.
static inline Blocks task_blocks(int64_t M, int64_t N, int64_t K) {
    Blocks block = {even_part(M, max_block_rows, tile_rows), even_part(N, max_block_columns, tile_columns)};
    while (divide_up(M, block.rows) * divide_up(N, block.columns) < enough_tasks &&
           min(block.rows, M) * min(block.columns, N) * K >= 2 * min_task_products) {
        if (block.rows > 48)
            block.rows = even_part(block.rows, divide_up(block.rows, 2), tile_rows);
        else if (block.columns > 192)
            block.columns = even_part(block.columns, divide_up(block.columns, 2), tile_columns);
        else
            break;
    }
    return block;
}

// One pass over `depth` of K for a block of C. packed_b holds the block's columns as panels. `sums` keeps a tile per
// (row panel, column panel) between passes; it is null when this is the only pass. After the last pass `out` takes the
// tile.
template <class A, class Out>
static inline void multiply_block(const A& a, const float* packed_b, int64_t row, int64_t rows, int64_t column,
                                  int64_t columns, int64_t k, int64_t depth, bool first, bool last, float* packed_a,
                                  float* sums, const Out& out) {
    a.template pack<tile_rows>(packed_a, row, rows, k, depth);
    alignas(64) float only[tile_size];
    for (int64_t n = 0; n < columns; n += tile_columns) {
        const float* panel_b = packed_b + n * depth;
        const int tile_n = (int)min(tile_columns, columns - n);
        for (int64_t m = 0; m < rows; m += tile_rows) {
            const int tile_m = (int)min(tile_rows, rows - m);
            float* tile = only;
            if (sums) {
                tile = sums;
                sums += tile_size;
            }
            if (last) fetch(out, row + m, tile_m, column + n, tile_n, 0);
            multiply_packed(tile_m, tile_n, depth, packed_a + m * depth, panel_b, tile, !first);
            if (last) out(tile, row + m, tile_m, column + n, tile_n);
        }
    }
}

// Whether a task found no scratch memory.
struct Failure {
    int32_t flag = 0;
    void raise() { __atomic_store_n(&flag, 1, __ATOMIC_RELAXED); }
    vin_status status() const { return flag ? vin_cpu_no_memory() : (vin_status)VIN_OK; }
};

// Columns column … column + columns of C, over k … k + depth. B is packed once by all threads, then blocks of C are
// computed by any.
template <class A, class B, class Out>
static inline bool multiply_slab(vin_stream* stream, int64_t M, int64_t column, int64_t columns, int64_t k,
                                 int64_t depth, const A& a, const B& b, const Out& out) {
    const int64_t passes = max(1, divide_up(depth, max_depth)), pass_depth = divide_up(depth, passes);
    const int64_t padded = round_up(columns, tile_columns);
    float* const packed_b = scratch(stream, slot_packed_b, padded * depth);
    if (!packed_b) return false;
    // Pass p starts at p · pass_depth · padded; in it, panels follow each other.
    const int64_t panels_per_task = max(1, 65536 / max(1, pass_depth * tile_columns));
    const int64_t columns_per_task = panels_per_task * tile_columns, pack_tasks = divide_up(columns, columns_per_task);
    parallel(stream, pack_tasks * passes, [&](int64_t task) {
        const int64_t pass = task / pack_tasks, n = task % pack_tasks * columns_per_task;
        const int64_t from = pass * pass_depth, pass_k = min(pass_depth, depth - from);
        b.template pack<tile_columns>(packed_b + from * padded + n * pass_k, column + n,
                                      min(columns_per_task, columns - n), k + from, pass_k);
    });
    const Blocks block = task_blocks(M, columns, depth);
    const int64_t tasks_m = divide_up(M, block.rows), tasks_n = divide_up(columns, block.columns);
    Failure failure;
    parallel(stream, tasks_m * tasks_n, [&](int64_t task) {
        const int64_t m = task / tasks_n * block.rows, n = task % tasks_n * block.columns;
        const int64_t rows = min(block.rows, M - m), n_columns = min(block.columns, columns - n);
        float* const packed_a = scratch(stream, slot_task_a, block.rows * pass_depth + W);
        float* const sums = passes > 1 ? scratch(stream, slot_task_c, block.rows * block.columns) : nullptr;
        if (!packed_a || (passes > 1 && !sums)) return failure.raise();
        for (int64_t pass = 0; pass < passes; pass++) {
            const int64_t from = pass * pass_depth, pass_k = min(pass_depth, depth - from);
            multiply_block(a, packed_b + from * padded + n * pass_k, m, rows, column + n, n_columns, k + from, pass_k,
                           pass == 0, pass == passes - 1, packed_a, sums, out);
        }
    });
    return !failure.flag;
}

// The same for few rows, which lie in memory along k: a task packs a panel of B into its own first-level cache and
// takes the rows past it where they lie, so that no packed operand passes from one core to another.
template <class B, class Out>
static inline bool multiply_panels(vin_stream* stream, int64_t M, int64_t N, int64_t K, const LinesAlongK& a,
                                   const B& b, const Out& out) {
    const int64_t passes = max(1, divide_up(K, max_depth)), pass_depth = divide_up(K, passes);
    const int64_t panels = divide_up(N, tile_columns);
    int64_t block = round_up(M, tile_rows);
    while (panels * divide_up(M, block) < enough_tasks && block >= 2 * min_panel_rows)
        block = even_part(M, divide_up(block, 2), tile_rows);
    Failure failure;
    parallel(stream, panels * divide_up(M, block), [&](int64_t task) {
        const int64_t n = task % panels * tile_columns, begin = task / panels * block, end = min(M, begin + block);
        const int columns = (int)min(tile_columns, N - n);
        float* const panel = scratch(stream, slot_task_b, pass_depth * tile_columns + W);
        float* const sums = passes > 1 ? scratch(stream, slot_task_c, block * tile_columns) : nullptr;
        if (!panel || (passes > 1 && !sums)) return failure.raise();
        alignas(64) float only[tile_size];
        for (int64_t pass = 0; pass < passes; pass++) {
            const int64_t k = pass * pass_depth, depth = min(pass_depth, K - k);
            b.template pack<tile_columns>(panel, n, columns, k, depth);
            for (int64_t m = begin; m < end; m += tile_rows) {
                const int rows = (int)min(tile_rows, end - m);
                float* const tile = sums ? sums + (m - begin) * tile_columns : only;
                multiply_rows(rows, columns, depth, a.data + m * a.stride + k, a.stride, panel, tile_columns, tile,
                              tile_columns, pass > 0);
                if (pass == passes - 1) out(tile, m, rows, n, columns);
            }
        }
    });
    return !failure.flag;
}

template <class A, class B, class Out>
static inline vin_status multiply(vin_stream* stream, int64_t M, int64_t N, int64_t K, const A& a, const B& b,
                                  const Out& out) {
    if (M == 0 || N == 0) return VIN_OK;
    const int64_t slab = even_part(N, max(tile_columns, max_packed_b / max(1, K)), tile_columns);
    for (int64_t n = 0; n < N; n += slab)
        if (!multiply_slab(stream, M, n, min(slab, N - n), 0, K, a, b, out)) return vin_cpu_no_memory();
    return VIN_OK;
}

template <class B, class Out>
static inline vin_status multiply(vin_stream* stream, int64_t M, int64_t N, int64_t K, const LinesAlongK& a, const B& b,
                                  const Out& out) {
    if (M == 0 || N == 0) return VIN_OK;
    if (M > max_panel_rows) return multiply<LinesAlongK, B, Out>(stream, M, N, K, a, b, out);
    if (!multiply_panels(stream, M, N, K, a, b, out)) return vin_cpu_no_memory();
    return VIN_OK;
}

// C += A · B where K (the rows of a batch) is long: `add` adds a tile to C, and is called once per slab of K, in order.
// A small C gives few tasks, so K is cut into a number of parts that follows from the shape; each part sums on its own,
// then parts are added in order.
template <class A, class B, class Add>
static inline vin_status multiply_long(vin_stream* stream, int64_t M, int64_t N, int64_t K, const A& a, const B& b,
                                       const Add& add) {
    if (M == 0 || N == 0 || K == 0) return VIN_OK;
    const Blocks block = task_blocks(M, N, K);
    const int64_t tasks = divide_up(M, block.rows) * divide_up(N, block.columns);
    const int64_t padded_m = round_up(M, tile_rows), padded_n = round_up(N, tile_columns);
    const int64_t parts = min(min(16, divide_up(enough_tasks, tasks)), min(K / 512, M * N * K / min_task_products));
    if (parts < 2 || padded_m * padded_n > 1 << 19) {
        const int64_t slab_n = even_part(N, 2048, tile_columns), slab_k = max_packed_b / slab_n;
        for (int64_t n = 0; n < N; n += slab_n)
            for (int64_t k = 0; k < K; k += slab_k)
                if (!multiply_slab(stream, M, n, min(slab_n, N - n), k, min(slab_k, K - k), a, b, add))
                    return vin_cpu_no_memory();
        return VIN_OK;
    }
    const int64_t part_depth = divide_up(K, parts), passes = divide_up(part_depth, max_depth),
                  pass_depth = divide_up(part_depth, passes);
    const int64_t block_columns = even_part(N, 512, tile_columns), block_rows = even_part(M, max_block_rows, tile_rows);
    const int64_t part_size = padded_m * padded_n;
    float* const partial = scratch(stream, slot_partial_sums, parts * part_size);
    if (!partial) return vin_cpu_no_memory();
    Failure failure;
    parallel(stream, parts, [&](int64_t part) {
        float* const packed_a = scratch(stream, slot_task_a, block_rows * pass_depth + W);
        float* const packed_b = scratch(stream, slot_task_b, block_columns * pass_depth);
        if (!packed_a || !packed_b) return failure.raise();
        const auto nothing = [](const float*, int64_t, int, int64_t, int) {};
        const int64_t end = min(K, (part + 1) * part_depth);
        for (int64_t n = 0; n < N; n += block_columns)
            for (int64_t k = part * part_depth; k < end; k += pass_depth) {
                const int64_t columns = min(block_columns, N - n), depth = min(pass_depth, end - k);
                b.template pack<tile_columns>(packed_b, n, columns, k, depth);
                for (int64_t m = 0; m < M; m += block_rows)
                    multiply_block(a, packed_b, m, min(block_rows, M - m), n, columns, k, depth, k == part * part_depth,
                                   false, packed_a,
                                   partial + part * part_size + n * padded_m + m * round_up(columns, tile_columns),
                                   nothing);
            }
    });
    if (failure.flag) return vin_cpu_no_memory();
    parallel(stream, divide_up(N, block_columns), [&](int64_t task) {
        const int64_t n = task * block_columns, columns = min(block_columns, N - n);
        float* tiles = partial + n * padded_m;
        for (int64_t m = 0; m < M; m += block_rows)
            for (int64_t c = n; c < n + columns; c += tile_columns)
                for (int64_t r = m; r < min(M, m + block_rows); r += tile_rows, tiles += tile_size) {
                    for (int64_t part = 1; part < parts; part++)
                        for (int i = 0; i < tile_size; i += W)
                            store(tiles + i, load(tiles + i) + load(tiles + part * part_size + i));
                    add(tiles, r, (int)min(tile_rows, M - r), c, (int)min(tile_columns, N - c));
                }
    });
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
