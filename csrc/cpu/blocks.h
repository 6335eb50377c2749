// A long fp64 sum in blocks: the tasks sum their blocks, the caller adds the block sums in order. Blocks follow from
// the shape alone.
#pragma once
#include "check.h"

namespace vin {
namespace cpu {
namespace VIN_CPU_ISA {

// total = Σ over blocks of block_sum(block); scratch slot 0 of the calling thread holds them.
template <class BlockSum>
static inline vin_status sum_blocks(vin_stream* stream, const char* op, int64_t blocks, double* total,
                                    const BlockSum& block_sum) {
    *total = 0;
    if (blocks == 0) return VIN_OK;
    double* sums = (double*)stream->host->scratch(0, (size_t)blocks * 8);
    if (!sums) return vin_cpu_fail(VIN_OUT_OF_MEMORY, "%s: no memory for %lld block sums", op, (long long)blocks);
    parallel(stream, blocks, [&](int64_t block) { sums[block] = block_sum(block); });
    for (int64_t block = 0; block < blocks; block++) *total += sums[block];
    return VIN_OK;
}

}  // namespace VIN_CPU_ISA
}  // namespace cpu
}  // namespace vin
