// Runs the blocks of one launch on the host's cores, each on one: a fiber per CUDA thread that waits at a barrier, a
// plain loop over those that never wait.
#pragma once
#include <stdint.h>

#include <random>
#include <string>

#include "device.h"

namespace vin {
namespace emu {

// In which order blocks and threads run: `rr` (ascending), `reverse`, `random:<seed>`. A correct kernel gives the same
// bits under each.
class Schedule {
public:
    explicit Schedule(const std::string& text);
    bool valid() const { return kind_ != unknown; }
    using Generator = std::mt19937_64;
    // Of one block of one launch, whichever core runs it.
    Generator generator(uint64_t launch, uint64_t block) const;
    // order[0 … count−1] = a permutation of 0 … count−1
    void permute(int* order, int count, Generator& generator) const;

private:
    enum Kind { ascending, reverse, random, unknown } kind_ = unknown;
    uint64_t seed_ = 0;
};

struct Launch {
    const KernelEntry* kernel;
    void* const* parameters;
    Index3 grid, block;
    unsigned shared_bytes;
};

// The empty text, or what the kernel did wrong: which barrier, block, threads and lines. `number` tells launches apart.
std::string run_launch(const Launch& launch, const Schedule& schedule, uint64_t number);

// What a kernel used that it may not: where an address lies beside the device's memory (driver.cpp).
std::string describe_address(uintptr_t address);

}  // namespace emu
}  // namespace vin
