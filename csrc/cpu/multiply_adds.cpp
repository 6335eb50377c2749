// The most that registers alone allow: chains of y = y·a + b, none of which waits for another. Benchmarks divide by it.
#include "isa.h"

namespace vin::cpu::VIN_CPU_ISA {

// A multiply-add takes 4 or 5 cycles and two can begin in each: 10 chains or more keep both units busy, and 12 with a
// and b fit 16 registers.
constexpr int chains = 12;

// Returns the floating-point operations of `rounds` rounds. *value is read, so that the compiler cannot know the
// factors, and written, so that it keeps the work.
double multiply_adds(int64_t rounds, float* value) {
    const vf a = set1(*value), b = set1(1.f);
    vf y[chains];
#pragma GCC unroll 12
    for (int c = 0; c < chains; c++) y[c] = set1((float)c);
    for (int64_t round = 0; round < rounds; round++)
#pragma GCC unroll 12
        for (int c = 0; c < chains; c++) y[c] = y[c] * a + b;
    vf total = {};
#pragma GCC unroll 12
    for (int c = 0; c < chains; c++) total += y[c];
    *value = sum(total);
    return 2.0 * W * chains * (double)rounds;
}

}  // namespace vin::cpu::VIN_CPU_ISA
