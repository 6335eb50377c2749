// Σ_k A(m, k) · B(n, k) in tiles of 4T × 4T outputs by T × T threads with 4 × 4 outputs each; k passes through shared
// memory T at a time, ascending. A and B are sources: structs that say where their numbers lie.
#pragma once
#include "device.cuh"

namespace vin {
namespace cuda {

// A source of lines whose numbers lie next to each other along k: data[line · stride + k].
struct AlongK {
    const float* data;
    i64 stride, lines;
};
// A source whose lines lie next to each other: data[k · stride + line].
struct AcrossK {
    const float* data;
    i64 stride, lines;
};

constexpr int product_threads = 16;                // along each side of a block: 64 × 64 outputs
constexpr int product_tile = 4 * product_threads;  // lines of A, and of B, in a block

// Bytes of shared memory for the two tiles. A line more than T keeps threads that store a column off one bank.
VIN_CONSTEXPR int product_tile_numbers(int T) { return T * (T + 1); }
VIN_CONSTEXPR int product_shared_bytes(int T = product_threads) {
    return shared_bytes<Float4>(2 * product_tile_numbers(T));
}

#if VIN_DEVICE
// fetch(…, k, k_end, out): four numbers, 0 where there are none. Along k: of one line at k … k + 3, and `line` is kept
// for the whole product. Across k: of lines n … n + 3 at k.
struct Line {
    const float* data;
};
VIN_DEVICE_FUNCTION bool aligned16(const float* p) { return ((unsigned long long)p & 15) == 0; }

VIN_DEVICE_FUNCTION void fetch_four(const float* from, i64 left, float (&out)[4]) {
    if (left >= 4 && aligned16(from)) {
        const Float4 four = *(const Float4*)from;
        for (int i = 0; i < 4; i++) out[i] = four.v[i];
        return;
    }
    for (int i = 0; i < 4; i++) out[i] = i < left ? from[i] : 0.f;
}

VIN_DEVICE_FUNCTION bool is_along_k(const AlongK&) { return true; }
VIN_DEVICE_FUNCTION Line line_of(const AlongK& a, i64 line) {
    return {line < a.lines ? a.data + line * a.stride : nullptr};
}
VIN_DEVICE_FUNCTION void fetch(const AlongK&, const Line& line, i64 k, i64 k_end, float (&out)[4]) {
    fetch_four(line.data + k, line.data ? k_end - k : 0, out);
}

VIN_DEVICE_FUNCTION bool is_along_k(const AcrossK&) { return false; }
struct FourLines {
    i64 first;
};
VIN_DEVICE_FUNCTION FourLines line_of(const AcrossK&, i64 line) { return {line}; }
VIN_DEVICE_FUNCTION void fetch(const AcrossK& a, const FourLines& lines, i64 k, i64 k_end, float (&out)[4]) {
    fetch_four(a.data + k * a.stride + lines.first, k < k_end ? a.lines - lines.first : 0, out);
}

// One tile of a source in shared memory: [k][4T lines].
template <int T, class Source, class Place>
VIN_DEVICE_FUNCTION void load_tile(const SharedArray<Float4>& tiles, int first, const Source& source,
                                   const Place& place, i64 k, i64 k_end, int thread) {
    float four[4];
    if (is_along_k(source)) {
        const int line = thread / (T / 4), step = thread % (T / 4) * 4;
        fetch(source, place, k + step, k_end, four);
        for (int i = 0; i < 4; i++) tiles[first + (step + i) * (T + 1) + line / 4].v[line % 4] = four[i];
    } else {
        const int step = thread / T;
        fetch(source, place, k + step, k_end, four);
        Float4& to = tiles[first + step * (T + 1) + thread % T];
        for (int i = 0; i < 4; i++) to.v[i] = four[i];
    }
}

// The first of the lines that this thread loads.
template <int T, class Source>
VIN_DEVICE_FUNCTION i64 loaded_line(const Source& source, i64 first, int thread) {
    return first + (is_along_k(source) ? thread / (T / 4) : thread % T * 4);
}

// sum[i][j] += Σ left[k][4y + i] · right[k][4x + j] over the T k of two tiles, where y = thread / T and x = thread % T.
template <int T>
VIN_DEVICE_FUNCTION void multiply_tiles(float (&sum)[4][4], const SharedArray<Float4>& tiles, int left, int right,
                                        int thread) {
    const int y = thread / T, x = thread % T;
    for (int step = 0; step < T; step++) {
        const Float4 a = tiles[left + step * (T + 1) + y], b = tiles[right + step * (T + 1) + x];
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++) sum[i][j] += a.v[i] * b.v[j];
    }
}

// sum[i][j] += Σ A(m + 4y + i, k) · B(n + 4x + j, k) for k from k_begin to k_end − 1. All threads of the block take
// part; one without outputs says so with `works`.
template <int T, class A, class B>
VIN_DEVICE_FUNCTION void add_product(float (&sum)[4][4], const SharedArray<Float4>& tiles, const A& a, i64 m,
                                     const B& b, i64 n, i64 k_begin, i64 k_end, int thread, bool works) {
    constexpr int second = product_tile_numbers(T);
    const auto place_a = line_of(a, loaded_line<T>(a, m, thread));
    const auto place_b = line_of(b, loaded_line<T>(b, n, thread));
    for (i64 k = k_begin; k < k_end; k += T) {
        load_tile<T>(tiles, 0, a, place_a, k, k_end, thread);
        load_tile<T>(tiles, second, b, place_b, k, k_end, thread);
        __syncthreads();
        if (works) multiply_tiles<T>(sum, tiles, 0, second, thread);
        __syncthreads();
    }
}

// The same where the left side lies in shared memory, from `left` on: [4T k][4T lines] as load_tile lays them.
template <int T, class B>
VIN_DEVICE_FUNCTION void add_product_of_tile(float (&sum)[4][4], const SharedArray<Float4>& tiles, int left, const B& b,
                                             i64 n, i64 k_begin, i64 k_end, int thread, bool works) {
    const auto place_b = line_of(b, loaded_line<T>(b, n, thread));
    for (i64 k = k_begin; k < k_end; k += T) {
        load_tile<T>(tiles, 0, b, place_b, k, k_end, thread);
        __syncthreads();
        if (works) multiply_tiles<T>(sum, tiles, left + (int)(k - k_begin) * (T + 1), 0, thread);
        __syncthreads();
    }
}
#endif

#if VIN_HOST
// Blocks of a product of `rows` × `columns` outputs, `slices` times.
inline Grid product_grid(int64_t rows, int64_t columns, int64_t slices = 1) {
    return {(unsigned)(divide_up(rows, product_tile) * divide_up(columns, product_tile) * slices)};
}
constexpr Grid product_block = {product_threads * product_threads};
#endif

#if VIN_DEVICE
// Which tile and which outputs are this thread's: m … m + 3 and n … n + 3. Neighbouring blocks share rows.
struct ProductPlace {
    i64 tile_m, tile_n, slice, m, n;
    int thread;
};
VIN_DEVICE_FUNCTION ProductPlace product_place(i64 columns, i64 rows) {
    const i64 tiles_n = (columns + product_tile - 1) / product_tile, tiles_m = (rows + product_tile - 1) / product_tile;
    const i64 block = blockIdx.x, tile = block % (tiles_n * tiles_m);
    ProductPlace p;
    p.slice = block / (tiles_n * tiles_m);
    p.tile_m = tile / tiles_n * product_tile;
    p.tile_n = tile % tiles_n * product_tile;
    p.thread = threadIdx.x;
    p.m = p.tile_m + p.thread / product_threads * 4;
    p.n = p.tile_n + p.thread % product_threads * 4;
    return p;
}
#endif

}  // namespace cuda
}  // namespace vin
