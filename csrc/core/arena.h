// The planned arena. The first pass of a model call runs on the plan backend and records every take and give: offsets
// and the peak follow. The real pass replays the same takes at those offsets in one block, so the loop allocates
// nothing (architecture.md §6).
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tensor.h"

namespace vin {

// The takes of one call, in order, and the plans of its parallel regions, in order (one child per task).
struct ArenaPlan {
    struct Take {
        size_t offset, bytes;
    };
    std::vector<Take> takes;
    size_t peak = 0;
    std::vector<std::vector<ArenaPlan>> regions;
};

// What the dry run of a call depends on: the call and its model, shapes and strides of its tensors, which of them are
// absent, and the numbers that decide which ops run. Addresses and values are no part of it.
class PlanKey {
public:
    PlanKey(const char* call, uint64_t model) : text_(call) { add(static_cast<int64_t>(model)); }
    PlanKey& add(int64_t number);
    PlanKey& add(const Tensor& tensor);  // may be absent
    PlanKey& add(const PlanKey& part);
    template <class T>
    PlanKey& add(const std::vector<T>& numbers) {
        add(static_cast<int64_t>(numbers.size()));
        for (const T& number : numbers) add(static_cast<int64_t>(number));
        return *this;
    }
    bool operator==(const PlanKey& other) const { return text_ == other.text_; }

private:
    std::string text_;
};

class RecordingMemory : public Memory {
public:
    ArenaPlan plan;
    void* take(size_t bytes) override;
    void give(void* data, size_t bytes) override;

private:
    std::map<size_t, size_t> free_;  // offset → size of the holes below plan.peak
};

class ReplayMemory : public Memory {
public:
    ReplayMemory(const ArenaPlan& plan, char* base) : plan_(plan), base_(base) {}
    void* take(size_t bytes) override;
    void give(void*, size_t) override {}
    const std::vector<ArenaPlan>& next_region() { return plan_.regions.at(region_++); }

private:
    const ArenaPlan& plan_;
    char* base_;
    size_t next_ = 0, region_ = 0;
};

}  // namespace vin
