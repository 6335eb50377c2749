// Philox 4×32-10 (Random123) and the normals of model.md §6, with the same bits from every compiler and on every
// device: logarithm, sine and cosine are written out, and each product and sum is rounded by itself. No header is
// included and all functions are static, since kernels are compiled per ISA and for GPUs too.
#pragma once

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define VIN_PHILOX static __device__ __forceinline__
#else
#define VIN_PHILOX static inline
#endif

namespace vin {

struct PhiloxBlock {
    unsigned word[4];
};

VIN_PHILOX PhiloxBlock philox(PhiloxBlock counter, unsigned key_low, unsigned key_high) {
    for (int round = 0; round < 10; round++) {
        const unsigned long long first = (unsigned long long)0xD2511F53u * counter.word[0],
                                 second = (unsigned long long)0xCD9E8D57u * counter.word[2];
        counter = {{(unsigned)(second >> 32) ^ counter.word[1] ^ key_low, (unsigned)second,
                    (unsigned)(first >> 32) ^ counter.word[3] ^ key_high, (unsigned)first}};
        key_low += 0x9E3779B9u;
        key_high += 0xBB67AE85u;
    }
    return counter;
}

// Block i of a stream of a seed.
VIN_PHILOX PhiloxBlock philox_block(unsigned long long seed, unsigned stream, unsigned long long i) {
    return philox({{(unsigned)i, (unsigned)(i >> 32), stream, 0}}, (unsigned)seed, (unsigned)(seed >> 32));
}

// A number of fp64 whose products and sums no compiler contracts to a multiply-add.
struct Fp64 {
    double value;
};
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
VIN_PHILOX Fp64 operator*(Fp64 a, Fp64 b) { return {__dmul_rn(a.value, b.value)}; }
VIN_PHILOX Fp64 operator+(Fp64 a, Fp64 b) { return {__dadd_rn(a.value, b.value)}; }
VIN_PHILOX Fp64 operator/(Fp64 a, Fp64 b) { return {__ddiv_rn(a.value, b.value)}; }
VIN_PHILOX Fp64 square_root(Fp64 a) { return {__dsqrt_rn(a.value)}; }
#else
// What passes through here the compiler takes as given.
VIN_PHILOX Fp64 rounded(double x) {
#if defined(__x86_64__)
    __asm__("" : "+x"(x));
#elif defined(__aarch64__)
    __asm__("" : "+w"(x));
#else
    const volatile double kept = x;
    x = kept;
#endif
    return {x};
}
VIN_PHILOX Fp64 operator*(Fp64 a, Fp64 b) { return rounded(a.value * b.value); }
VIN_PHILOX Fp64 operator+(Fp64 a, Fp64 b) { return rounded(a.value + b.value); }
VIN_PHILOX Fp64 operator/(Fp64 a, Fp64 b) { return rounded(a.value / b.value); }
VIN_PHILOX Fp64 square_root(Fp64 a) { return rounded(__builtin_sqrt(a.value)); }
#endif
VIN_PHILOX Fp64 operator-(Fp64 a) { return {-a.value}; }
VIN_PHILOX Fp64 operator-(Fp64 a, Fp64 b) { return a + -b; }

// ln(n · 2⁻³²) for n from 1 to 2³². With n · 2⁻³² = m · 2ᵏ, m from √½ to √2, f = m − 1 and s = f / (2 + f):
// ln m = 2 artanh s = f − s · (f − 2 (s²/3 + s⁴/5 + …)), where f is exact.
VIN_PHILOX Fp64 log_of_uniform(unsigned long long n) {
    int k = 0;
    for (int shift = 16; shift > 0; shift /= 2)
        if (n <= 1ull << (32 - shift)) {
            n <<= shift;
            k -= shift;
        }
    Fp64 m = {(double)n * 0x1p-32};
    if (m.value < 0.70710678118654752) {
        m.value *= 2;
        k--;
    }
    const Fp64 f = m - Fp64{1}, s = f / (Fp64{2} + f), s2 = s * s;
    Fp64 series = {2. / 23};
    for (int odd = 21; odd >= 3; odd -= 2) series = series * s2 + Fp64{2. / odd};
    series = series * s2;
    const Fp64 exponent = {(double)k}, ln2_high = {0x1.62e42fefa3ap-1},  // of 42 bits: k times that is exact
        ln2_low = {-0x1.0ca86c3898dp-49};
    return exponent * ln2_high + (f - (s * (f - series) - exponent * ln2_low));
}

struct SineCosine {
    Fp64 sine, cosine;
};
// Of an angle from 0 to 2π: q quarter turns and r, within an eighth, which is exact to twice the bits of fp64 (r +
// rest); then the series of both.
VIN_PHILOX SineCosine sine_cosine(Fp64 angle) {
    const int q = (int)(angle * Fp64{0.63661977236758134} + Fp64{0.5}).value;  // 2/π
    // π/2 in three parts: q times the first two is exact.
    const Fp64 quarters = {(double)q}, high = angle - quarters * Fp64{0x1.921fb54442d18p+0},
               middle = quarters * Fp64{0x1.1a62633145c08p-54}, low = quarters * Fp64{-0x1.1f1976b7ed8fcp-106};
    const Fp64 r = high - middle, rest = ((high - r) - middle) - low, r2 = r * r, half = r2 * Fp64{0.5};

    Fp64 sine = {1. / 355687428096000};  // 1/17!
    sine = sine * r2 - Fp64{1. / 1307674368000};
    sine = sine * r2 + Fp64{1. / 6227020800};
    sine = sine * r2 - Fp64{1. / 39916800};
    sine = sine * r2 + Fp64{1. / 362880};
    sine = sine * r2 - Fp64{1. / 5040};
    sine = sine * r2 + Fp64{1. / 120};
    sine = sine * r2 - Fp64{1. / 6};
    sine = r + (r * r2 * sine + rest * (Fp64{1} - half));

    Fp64 cosine = {1. / 20922789888000};  // 1/16!
    cosine = cosine * r2 - Fp64{1. / 87178291200};
    cosine = cosine * r2 + Fp64{1. / 479001600};
    cosine = cosine * r2 - Fp64{1. / 3628800};
    cosine = cosine * r2 + Fp64{1. / 40320};
    cosine = cosine * r2 - Fp64{1. / 720};
    cosine = cosine * r2 + Fp64{1. / 24};
    const Fp64 most = Fp64{1} - half;
    cosine = most + (((Fp64{1} - most) - half) + (r2 * r2 * cosine - r * rest));

    const SineCosine turned = q % 2 == 0 ? SineCosine{sine, cosine} : SineCosine{cosine, -sine};
    return (q & 2) == 0 ? turned : SineCosine{-turned.sine, -turned.cosine};
}

// The four normals of a block, Box–Muller on pairs: r = √(−2 ln((u₀ + 1) · 2⁻³²)), θ = 2π · u₁ · 2⁻³²; r cos θ, r sin
// θ.
VIN_PHILOX void philox_normals(const PhiloxBlock& block, double (&normals)[4]) {
    for (int pair = 0; pair < 4; pair += 2) {
        const Fp64 r = square_root(Fp64{-2} * log_of_uniform((unsigned long long)block.word[pair] + 1));
        const SineCosine turn = sine_cosine(Fp64{6.283185307179586477} * Fp64{(double)block.word[pair + 1] * 0x1p-32});
        normals[pair] = (r * turn.cosine).value;
        normals[pair + 1] = (r * turn.sine).value;
    }
}

// y[0 … n−1] = normals first … first + n − 1 of a stream.
VIN_PHILOX void philox_fill(float* y, long long n, unsigned long long seed, unsigned stream, unsigned long long first) {
    double normals[4];
    for (long long i = 0; i < n; i++) {
        const unsigned long long element = first + (unsigned long long)i;
        if (i == 0 || element % 4 == 0) philox_normals(philox_block(seed, stream, element / 4), normals);
        y[i] = (float)normals[element % 4];
    }
}

}  // namespace vin
