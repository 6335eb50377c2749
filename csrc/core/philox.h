// Philox 4×32-10 (Random123) and the normals of model.md §6. All functions are static: the header is shared by kernels
// that are compiled per ISA.
#pragma once
#include <math.h>
#include <stdint.h>

namespace vin {

struct PhiloxBlock {
    uint32_t word[4];
};

static inline PhiloxBlock philox(PhiloxBlock counter, uint32_t key_low, uint32_t key_high) {
    for (int round = 0; round < 10; round++) {
        const uint64_t first = (uint64_t)0xD2511F53u * counter.word[0],
                       second = (uint64_t)0xCD9E8D57u * counter.word[2];
        counter = {{(uint32_t)(second >> 32) ^ counter.word[1] ^ key_low, (uint32_t)second,
                    (uint32_t)(first >> 32) ^ counter.word[3] ^ key_high, (uint32_t)first}};
        key_low += 0x9E3779B9u;
        key_high += 0xBB67AE85u;
    }
    return counter;
}

// Block i of a stream of a seed.
static inline PhiloxBlock philox_block(uint64_t seed, uint32_t stream, uint64_t i) {
    return philox({{(uint32_t)i, (uint32_t)(i >> 32), stream, 0}}, (uint32_t)seed, (uint32_t)(seed >> 32));
}

// The four normals of a block, Box–Muller on pairs: r = √(−2 ln((u₀ + 1) · 2⁻³²)), θ = 2π · u₁ · 2⁻³²; r cos θ, r sin
// θ.
static inline void philox_normals(const PhiloxBlock& block, double normals[4]) {
    for (int pair = 0; pair < 4; pair += 2) {
        const double r = sqrt(-2 * ::log(((double)block.word[pair] + 1) * 0x1p-32)),
                     angle = 6.283185307179586477 * ((double)block.word[pair + 1] * 0x1p-32);
        normals[pair] = r * ::cos(angle);
        normals[pair + 1] = r * ::sin(angle);
    }
}

// y[0 … n−1] = normals first … first + n − 1 of a stream.
static inline void philox_fill(float* y, int64_t n, uint64_t seed, uint32_t stream, uint64_t first) {
    double normals[4];
    for (int64_t i = 0; i < n; i++) {
        const uint64_t element = first + (uint64_t)i;
        if (i == 0 || element % 4 == 0) philox_normals(philox_block(seed, stream, element / 4), normals);
        y[i] = (float)normals[element % 4];
    }
}

}  // namespace vin
