// Tensors: a counted block of device memory (Storage) and a strided view of it. Views share memory; the gradient of a
// view is the same view of its storage's gradient.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "../backend.h"
#include "error.h"

namespace vin {

// Where storages come from and go back to: a pool for handles, an arena inside a model call.
struct Memory {
    virtual ~Memory() = default;
    virtual void* take(size_t bytes) = 0;
    virtual void give(void* data, size_t bytes) = 0;
};

struct Storage {
    void* data = nullptr;
    size_t bytes = 0;
    const uint64_t id;                // never reused: the tape's key
    std::shared_ptr<Memory> memory;   // gets the block back; null when `parent` owns it
    std::shared_ptr<Storage> parent;  // a named part of a larger block (weights of one model)

    Storage(std::shared_ptr<Memory> from, size_t size);
    Storage(std::shared_ptr<Storage> whole, size_t offset, size_t size);
    ~Storage();
    Storage(const Storage&) = delete;
    Storage& operator=(const Storage&) = delete;
};

using Shape = std::vector<int64_t>;

size_t dtype_bytes(int32_t dtype);
const char* dtype_name(int32_t dtype);
int64_t elements(const Shape& shape);  // checked: throws VIN_INVALID on overflow

class Tensor {
public:
    Tensor() { view_ = {}; }
    Tensor(std::shared_ptr<Storage> storage, const Shape& shape, int32_t dtype = VIN_DTYPE_F32);
    static Tensor allocate(const std::shared_ptr<Memory>& memory, const Shape& shape, int32_t dtype = VIN_DTYPE_F32);

    explicit operator bool() const { return storage_ != nullptr; }
    const vin_tensor& view() const { return view_; }
    const std::shared_ptr<Storage>& storage() const { return storage_; }
    int rank() const { return view_.rank; }
    int64_t size(int axis) const { return view_.shape[axis < 0 ? axis + view_.rank : axis]; }
    int64_t stride(int axis) const { return view_.stride[axis < 0 ? axis + view_.rank : axis]; }
    int64_t numel() const;
    int32_t dtype() const { return view_.dtype; }
    Shape shape() const { return Shape(view_.shape, view_.shape + view_.rank); }
    bool contiguous() const;
    bool covers_storage() const {
        return contiguous() && static_cast<size_t>(numel()) * dtype_bytes(dtype()) == storage_->bytes;
    }

    // Views. Each throws VIN_INVALID when it cannot be made without a copy.
    Tensor reshape(const Shape& shape) const;  // adjacent axes merge or split
    Tensor slice(int axis, int64_t begin, int64_t end) const;
    Tensor permute(std::initializer_list<int> axes) const;
    Tensor expand(const Shape& shape) const;  // axes of size 1 get stride 0
    Tensor strided(const Shape& shape, const Shape& stride,
                   int64_t offset = 0) const;  // elements, relative to this view
    Tensor rows() const;                       // [R, last]; absent for an absent tensor
    Tensor same_view_of(
        const std::shared_ptr<Storage>& other) const;  // the mirrored view in another storage of the same layout

private:
    std::shared_ptr<Storage> storage_;
    vin_tensor view_;
};

}  // namespace vin
