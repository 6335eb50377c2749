#include "tensor.h"

#include <atomic>

namespace vin {

static std::atomic<uint64_t> next_id{1};

Storage::Storage(std::shared_ptr<Memory> from, size_t size) : bytes(size), id(next_id++), memory(std::move(from)) {
    data = memory->take(bytes);
}

Storage::Storage(std::shared_ptr<Storage> whole, size_t offset, size_t size)
    : data(static_cast<char*>(whole->data) + offset), bytes(size), id(next_id++), parent(std::move(whole)) {}

Storage::~Storage() {
    if (memory) memory->give(data, bytes);
}

size_t dtype_bytes(int32_t dtype) {
    switch (dtype) {
        case VIN_DTYPE_F64: return 8;
        case VIN_DTYPE_F32:
        case VIN_DTYPE_I32: return 4;
        case VIN_DTYPE_BF16:
        case VIN_DTYPE_F16: return 2;
        default: return 1;
    }
}

const char* dtype_name(int32_t dtype) {
    static const char* const names[] = {"float32", "bfloat16", "float16", "int32", "uint8", "float64"};
    return names[dtype];
}

int64_t elements(const Shape& shape) {
    int64_t n = 1;
    for (int64_t size : shape) {
        if (size < 0 || __builtin_mul_overflow(n, size, &n) || n > (int64_t(1) << 46))
            throw invalid("Expected a shape of at most 2^46 elements but found ", shape);
    }
    return n;
}

static void set_dense(vin_tensor& view, const Shape& shape) {
    if (shape.size() > VIN_MAX_RANK) throw invalid("Expected a tensor of rank 5 or less but found shape ", shape);
    view.rank = static_cast<int32_t>(shape.size());
    int64_t stride = 1;
    for (int i = view.rank - 1; i >= 0; i--) {
        view.shape[i] = shape[i];
        view.stride[i] = stride;
        stride *= shape[i] > 0 ? shape[i] : 1;
    }
}

Tensor::Tensor(std::shared_ptr<Storage> storage, const Shape& shape, int32_t dtype) : storage_(std::move(storage)) {
    view_ = {};
    set_dense(view_, shape);
    view_.dtype = dtype;
    view_.data = storage_->data;
}

Tensor Tensor::allocate(const std::shared_ptr<Memory>& memory, const Shape& shape, int32_t dtype) {
    return Tensor(std::make_shared<Storage>(memory, static_cast<size_t>(elements(shape)) * dtype_bytes(dtype)), shape,
                  dtype);
}

int64_t Tensor::numel() const {
    int64_t n = 1;
    for (int i = 0; i < view_.rank; i++) n *= view_.shape[i];
    return n;
}

bool Tensor::contiguous() const {
    int64_t stride = 1;
    for (int i = view_.rank - 1; i >= 0; i--) {
        if (view_.shape[i] != 1 && view_.stride[i] != stride) return numel() == 0;
        stride *= view_.shape[i];
    }
    return true;
}

Tensor Tensor::reshape(const Shape& shape) const {
    if (elements(shape) != numel()) throw invalid("Expected a shape of ", numel(), " elements but found ", shape);
    Tensor out = *this;
    if (contiguous()) {
        set_dense(out.view_, shape);
        return out;
    }
    // Walk both shapes from the front: groups of axes with equal products; inside a group the old axes must be
    // mergeable.
    int old_axis = 0;
    size_t new_axis = 0;
    if (shape.size() > VIN_MAX_RANK) throw invalid("Expected a tensor of rank 5 or less but found shape ", shape);
    out.view_.rank = static_cast<int32_t>(shape.size());
    while (new_axis < shape.size() || old_axis < view_.rank) {
        int64_t old_product = old_axis < view_.rank ? view_.shape[old_axis] : 1;
        int64_t new_product = new_axis < shape.size() ? shape[new_axis] : 1;
        const int old_begin = old_axis;
        const size_t new_begin = new_axis;
        if (old_axis < view_.rank) old_axis++;
        if (new_axis < shape.size()) new_axis++;
        while (old_product != new_product) {
            if (old_product < new_product)
                old_product *= view_.shape[old_axis++];
            else
                new_product *= shape[new_axis++];
        }
        int64_t stride = 1;
        bool first = true;
        for (int i = old_axis - 1; i >= old_begin; i--) {
            if (view_.shape[i] == 1) continue;
            if (first)
                stride = view_.stride[i];
            else if (view_.stride[i] != stride)
                throw invalid("Expected a contiguous tensor to reshape ", this->shape(), " to ", shape);
            first = false;
            stride *= view_.shape[i];
        }
        int64_t inner = 1;
        for (int i = old_axis - 1; i >= old_begin; i--)
            if (view_.shape[i] != 1) {
                inner = view_.stride[i];
                break;
            }
        for (size_t i = new_axis; i-- > new_begin;) {
            out.view_.shape[i] = shape[i];
            out.view_.stride[i] = inner;
            inner *= shape[i];
        }
    }
    return out;
}

Tensor Tensor::rows() const {
    if (!*this) return {};
    return reshape({rank() ? numel() / (size(-1) ? size(-1) : 1) : 1, size(-1)});
}

Tensor Tensor::slice(int axis, int64_t begin, int64_t end) const {
    if (axis < 0) axis += view_.rank;
    if (axis < 0 || axis >= view_.rank || begin < 0 || end < begin || end > view_.shape[axis])
        throw invalid("Expected a range inside axis ", axis, " of ", shape(), " but found ", begin, " to ", end);
    Tensor out = *this;
    out.view_.shape[axis] = end - begin;
    out.view_.data =
        static_cast<char*>(view_.data) + begin * view_.stride[axis] * static_cast<int64_t>(dtype_bytes(view_.dtype));
    return out;
}

Tensor Tensor::permute(std::initializer_list<int> axes) const {
    Tensor out = *this;
    int i = 0;
    for (int axis : axes) {
        out.view_.shape[i] = view_.shape[axis];
        out.view_.stride[i++] = view_.stride[axis];
    }
    return out;
}

Tensor Tensor::expand(const Shape& shape) const {
    Tensor out = *this;
    if (static_cast<int>(shape.size()) != view_.rank)
        throw invalid("Expected rank ", view_.rank, " to expand ", this->shape(), " but found ", shape);
    for (int i = 0; i < view_.rank; i++) {
        if (view_.shape[i] == shape[i]) continue;
        if (view_.shape[i] != 1)
            throw invalid("Expected a shape that broadcasts to ", shape, " but found ", this->shape());
        out.view_.shape[i] = shape[i];
        out.view_.stride[i] = 0;
    }
    return out;
}

Tensor Tensor::strided(const Shape& shape, const Shape& stride, int64_t offset) const {
    Tensor out = *this;
    out.view_.rank = static_cast<int32_t>(shape.size());
    for (size_t i = 0; i < shape.size(); i++) {
        out.view_.shape[i] = shape[i];
        out.view_.stride[i] = stride[i];
    }
    out.view_.data = static_cast<char*>(view_.data) + offset * static_cast<int64_t>(dtype_bytes(view_.dtype));
    return out;
}

Tensor Tensor::same_view_of(const std::shared_ptr<Storage>& other) const {
    Tensor out = *this;
    out.storage_ = other;
    out.view_.data =
        static_cast<char*>(other->data) + (static_cast<char*>(view_.data) - static_cast<char*>(storage_->data));
    return out;
}

}  // namespace vin
