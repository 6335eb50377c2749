// A long fp64 sum in blocks: the tasks sum their blocks, the caller adds the block sums in order. Blocks follow from
// the shape alone.
#pragma once
#include "check.h"

namespace vin::cpu::VIN_CPU_ISA {

// total = Σ over blocks of block_sum(block); scratch slot 0 of the calling thread holds them.
template <class BlockSum>
static inline vin_status sum_blocks(vin_stream* stream, int64_t blocks, double* total, const BlockSum& block_sum) {
    *total = 0;
    if (blocks == 0) return VIN_OK;
    double* sums = scratch<double>(stream, 0, blocks);
    if (!sums) return vin_cpu_no_memory();
    parallel(stream, blocks, [&](int64_t block) { sums[block] = block_sum(block); });
    for (int64_t block = 0; block < blocks; block++) *total += sums[block];
    return VIN_OK;
}

}  // namespace vin::cpu::VIN_CPU_ISA
