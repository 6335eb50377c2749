// Products whose sums are long, where k counts rows or pixels: a few outputs are split over slices of k, whose partial
// sums are added by a second launch.
#pragma once
#include "product.cuh"
#include "reduce.cuh"

namespace vin {
namespace cuda {

// partials[slice][m][n] = Σ of A(m, k) · B(n, k) over the slice's k.
struct LongProduct {
    i64 M, N, K, slices, slice_k;
};

#if VIN_DEVICE
template <class A, class B>
VIN_DEVICE_FUNCTION void multiply_slice(const LongProduct& s, float* partials, const A& a, const B& b) {
    constexpr int run = 1024;  // a sum of sums, so that the rounding error of a long one stays small
    const SharedArray<Float4> tiles = shared_array<Float4>(0, 2 * product_tile_numbers(product_threads));
    const ProductPlace p = product_place(s.N, s.M);
    const i64 begin = p.slice * s.slice_k, end = begin + s.slice_k < s.K ? begin + s.slice_k : s.K;
    float total[4][4] = {};
    for (i64 k = begin; k < end; k += run) {
        float sum[4][4] = {};
        add_product<product_threads>(sum, tiles, a, p.tile_m, b, p.tile_n, k, k + run < end ? k + run : end, p.thread,
                                     p.m < s.M && p.n < s.N);
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++) total[i][j] += sum[i][j];
    }
    for (int i = 0; i < 4 && p.m + i < s.M; i++)
        for (int j = 0; j < 4 && p.n + j < s.N; j++) partials[(p.slice * s.M + p.m + i) * s.N + p.n + j] = total[i][j];
}
#endif

#if VIN_HOST
inline LongProduct long_product(int64_t M, int64_t N, int64_t K) {
    constexpr int64_t wanted_blocks = 256;  // two for each multiprocessor of a large GPU
    constexpr int64_t least_k = 1024;       // of a slice: its partial sum is written and read once
    LongProduct s = {M, N, K, 1, K};
    const int64_t blocks = product_grid(M, N).x, most = divide_up(K, least_k),
                  wanted = divide_up(wanted_blocks, blocks);
    s.slice_k = divide_up(divide_up(K, wanted < most ? wanted : most), product_threads) * product_threads;
    s.slices = divide_up(K, s.slice_k);
    return s;
}
inline int64_t partial_numbers(const LongProduct& s) { return s.M * s.N * s.slices; }
inline Grid long_product_grid(const LongProduct& s) { return product_grid(s.M, s.N, s.slices); }
#endif

}  // namespace cuda
}  // namespace vin
