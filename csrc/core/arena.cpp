#include "arena.h"

#include "error.h"

namespace vin {

static constexpr size_t alignment = 64;
// Addresses of the dry run: never read, but not null, because null marks an absent operand.
static char* const no_memory = reinterpret_cast<char*>(alignment * 1024);

static size_t aligned(size_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }

PlanKey& PlanKey::add(int64_t number) {
    text_.append(reinterpret_cast<const char*>(&number), sizeof number);
    return *this;
}

PlanKey& PlanKey::add(const Tensor& tensor) {
    const vin_tensor& view = tensor.view();
    add(tensor ? view.rank : -1).add(view.dtype);
    for (int axis = 0; axis < view.rank; axis++) add(view.shape[axis]).add(view.stride[axis]);
    return *this;
}

PlanKey& PlanKey::add(const PlanKey& part) {
    add(static_cast<int64_t>(part.text_.size()));
    text_.append(part.text_);
    return *this;
}

void* RecordingMemory::take(size_t bytes) {
    const size_t size = aligned(bytes ? bytes : 1);
    auto best = free_.end();
    for (auto hole = free_.begin(); hole != free_.end(); ++hole)
        if (hole->second >= size && (best == free_.end() || hole->second < best->second)) best = hole;
    size_t offset;
    if (best != free_.end()) {
        offset = best->first;
        const size_t rest = best->second - size;
        free_.erase(best);
        if (rest) free_[offset + size] = rest;
    } else {
        offset = plan.peak;
        if (!free_.empty()) {
            auto last = std::prev(free_.end());
            if (last->first + last->second == plan.peak) {  // grow the hole at the end instead of leaving it
                offset = last->first;
                free_.erase(last);
            }
        }
        plan.peak = offset + size;
    }
    plan.takes.push_back({offset, bytes});
    return no_memory + offset;
}

void RecordingMemory::give(void* data, size_t bytes) {
    size_t offset = static_cast<size_t>(static_cast<char*>(data) - no_memory), size = aligned(bytes ? bytes : 1);
    auto next = free_.lower_bound(offset);
    if (next != free_.end() && offset + size == next->first) {
        size += next->second;
        next = free_.erase(next);
    }
    if (next != free_.begin()) {
        auto before = std::prev(next);
        if (before->first + before->second == offset) {
            before->second += size;
            return;
        }
    }
    free_[offset] = size;
}

void* ReplayMemory::take(size_t bytes) {
    if (next_ >= plan_.takes.size() || plan_.takes[next_].bytes != bytes)
        throw Error("VIN_INVALID", "Expected the real pass to allocate as the dry run did");
    return base_ + plan_.takes[next_++].offset;
}

}  // namespace vin
