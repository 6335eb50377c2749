// Runs the blocks of one launch on the host, one after another: a fiber per CUDA thread that waits at a barrier, a
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
    // order[0 … count−1] = a permutation of 0 … count−1
    void permute(int* order, int count);

private:
    enum Kind { ascending, reverse, random, unknown } kind_ = unknown;
    std::mt19937_64 generator_;
};

struct Launch {
    const KernelEntry* kernel;
    void* const* parameters;
    Index3 grid, block;
    unsigned shared_bytes;
};

// The empty text, or what the kernel did wrong: which barrier, block, threads and lines.
std::string run_launch(const Launch& launch, Schedule& schedule);

}  // namespace emu
}  // namespace vin
