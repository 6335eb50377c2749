// safetensors: 8 bytes of header length, a JSON header {name: {dtype, shape, data_offsets}}, then the tensors' bytes
// without holes. One validated reader for paths, buffers and shards. Everything is checked against the real file before
// memory is taken; data is read with pread, never mapped, so a file that shrinks in use is an error. VIN_FORMAT says
// file, tensor, expected, found; VIN_NOT_SUPPORTED names the tensor of another dtype.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "error.h"
#include "files.h"

namespace vin {

enum class FileDtype : uint8_t { F64, F32, F16, BF16, I64, I32, U8 };
size_t bytes_of(FileDtype dtype);
const char* name_of(FileDtype dtype);  // "BF16"

using TextPairs = std::vector<std::pair<std::string, std::string>>;

struct SafetensorsLimits {
    uint64_t header_bytes = uint64_t{16} << 20;
    uint64_t tensors = 65536;
    uint64_t name_bytes = 512;
    uint64_t rank = 8;
};

struct StoredTensor {
    std::string name;
    FileDtype dtype;
    std::vector<int64_t> shape;
    uint64_t count;  // elements
    uint64_t begin;  // of its bytes, from the end of the header
    uint64_t end;
};

struct ReadOptions {
    KeepGoing keep_going;  // asked before each slice of at most 4 MiB
    bool finite = false;   // NaN and infinite values are VIN_FORMAT: weights
};

class SafetensorsFile {
public:
    static SafetensorsFile open(const std::string& path, const SafetensorsLimits& limits = {},
                                OpenRule rule = OpenRule::follow);
    // The bytes outlive the reader; `file` is only named in errors.
    static SafetensorsFile from_bytes(const void* data, size_t bytes, const std::string& file,
                                      const SafetensorsLimits& limits = {});

    const std::string& file() const { return file_; }
    const std::vector<StoredTensor>& tensors() const { return tensors_; }  // in the order of their data
    const TextPairs& metadata() const { return metadata_; }

    // `out` takes tensor.count values. Any dtype converts; integers beyond 2^24 (float) or 2^53 (double) are rounded.
    void read(const StoredTensor& tensor, float* out, const ReadOptions& options = {}) const;
    void read(const StoredTensor& tensor, double* out, const ReadOptions& options = {}) const;
    // The bytes as they are stored, little endian; `out` takes tensor.count · bytes_of(tensor.dtype). `finite` is not
    // looked at.
    void read_bytes(const StoredTensor& tensor, void* out, const ReadOptions& options = {}) const;

private:
    friend class SafetensorsSet;
    SafetensorsFile() = default;
    uint64_t size() const { return data_ ? bytes_ : handle_.size(); }
    void read_at(uint64_t offset, void* out, size_t bytes) const;
    void read_header(const SafetensorsLimits& limits);
    template <class T>
    void read_as(const StoredTensor& tensor, T* out, const ReadOptions& options) const;

    std::string file_;
    ReadFile handle_;
    const uint8_t* data_ = nullptr;  // instead of the handle
    uint64_t bytes_ = 0;
    uint64_t data_begin_ = 0;
    std::vector<StoredTensor> tensors_;
    TextPairs metadata_;
};

// `weight_map` of model.safetensors.index.json: (tensor, shard). Shards are base names that end in .safetensors:
// nothing outside the index's own folder.
TextPairs parse_shard_index(const char* text, size_t bytes, const std::string& file,
                            const SafetensorsLimits& limits = {});

// The tensors of several files under one set of names. A file that ends in .index.json stands for its shards; all
// shards are checked before one is opened.
class SafetensorsSet {
public:
    static SafetensorsSet open(const std::vector<std::string>& files, const SafetensorsLimits& limits = {});

    const std::string& label() const { return label_; }  // for errors: the first file, as it was given
    std::vector<std::string> names() const;              // sorted
    const StoredTensor* find(const std::string& name) const;
    void read_tensor(const std::string& name, float* out, const ReadOptions& options = {}) const;
    // Whether two tensors have one dtype, one shape and the same bytes.
    bool same(const std::string& a, const std::string& b, const KeepGoing& keep_going = {}) const;

private:
    void add(SafetensorsFile file);

    std::string label_;
    std::vector<SafetensorsFile> files_;
    std::unordered_map<std::string, std::pair<size_t, size_t>> by_name_;  // file, tensor
};

struct ExpectedWeight {
    std::string name;
    std::vector<int64_t> shape;
    bool optional = false;
    bool scalar = false;  // may be stored as one number that stands for all elements
};

// Known buffers of published checkpoints that no model here reads. A star at the end stands for any rest.
extern const std::vector<std::string> ignored_weights;  // decoder.* lm_head.* pos_embed* loss.*

// Compares names, shapes and kinds of numbers before anything is read, so that nothing is half-loaded: VIN_FORMAT lists
// missing, unexpected and wrong-shaped tensors and integers, which are no weights (those of a quantised model need
// their scales).
void check_weights(const SafetensorsSet& set, const std::vector<ExpectedWeight>& expected,
                   const std::vector<std::string>& ignored = ignored_weights);

struct TensorToWrite {
    std::string name;
    FileDtype dtype = FileDtype::F32;  // in the file
    std::vector<int64_t> shape;
    // Either the bytes as they go into the file …
    const void* bytes = nullptr;
    // … or fp32 values to convert (to F64, F32, F16, BF16): fills values [first, first + count) of the tensor, called
    // in order, at most 2^20 at a time.
    std::function<void(uint64_t first, size_t count, float* out)> values;
};

std::function<void(uint64_t, size_t, float*)> values_at(const float* data);

// The metadata gets "format": "pt" where it has no format: transformers opens no file without one.
// Atomic (AtomicFile): VIN_DISK, VIN_ABORTED, or VIN_NONFINITE for a finite value beyond float16's range leave nothing
// behind.
void write_safetensors(const std::string& path, std::vector<TensorToWrite> tensors, const TextPairs& metadata = {},
                       const KeepGoing& keep_going = {});

}  // namespace vin
