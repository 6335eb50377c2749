#include "safetensors.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "checked.h"
#include "float16.h"
#include "json.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "safetensors data is little endian and is read as it is");

namespace vin {

namespace {

constexpr size_t slice_bytes = size_t{4} << 20;
constexpr size_t write_values = size_t{1} << 20;

struct DtypeRow {
    const char* name;
    size_t bytes;
};
constexpr DtypeRow dtypes[] = {{"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2},
                               {"I64", 8}, {"I32", 4}, {"U8", 1}};  // in the order of FileDtype

[[noreturn]] void fail(const std::string& file, const std::string& tensor, const std::string& expected,
                       const std::string& found) {
    throw Error("VIN_FORMAT",
                concat(file, ": expected ", expected, " for tensor ", quoted(tensor), " but found ", found),
                {{"file", file}, {"tensor", tensor}, {"expected", expected}, {"found", found}});
}

// What is not a header may be a file of another kind, whatever its name says.
void refuse_foreign(const std::string& file, const char* start, size_t bytes) {
    const std::string foreign = foreign_format(start, bytes);
    if (!foreign.empty()) throw wrong_file(file, "a safetensors file", foreign);
    const bool text = valid_utf8(start, bytes) + 4 > bytes && std::all_of(start, start + bytes, [](char c) {
                          return static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\r' || c == '\t';
                      });
    if (text)
        throw wrong_file(file, "a safetensors file",
                         concat("a text that begins ", quoted(std::string(start, valid_utf8(start, bytes))),
                                "; download the file again"));
}

FileDtype read_dtype(const std::string& file, const std::string& name, const Json& json) {
    const std::string* text = json.text();
    if (!text) fail(file, name, "a string as dtype", describe(&json));
    for (size_t i = 0; i < std::size(dtypes); i++)
        if (*text == dtypes[i].name) return static_cast<FileDtype>(i);
    throw Error("VIN_NOT_SUPPORTED",
                concat(file, ": tensor ", quoted(name), " has dtype ", quoted(*text),
                       "; supported are F64 F32 F16 BF16 I64 I32 U8"),
                {{"file", file}, {"tensor", name}, {"found", *text}});
}

// The bytes of a tensor; `fits` is false when the exact count does not fit 64 bits.
bool tensor_bytes(const std::vector<int64_t>& shape, FileDtype dtype, uint64_t* count, uint64_t* bytes) {
    return element_count(count, shape) && exact_mul(bytes, *count, bytes_of(dtype));
}

StoredTensor read_entry(const std::string& file, const std::string& name, const Json& json,
                        const SafetensorsLimits& limits, uint64_t data_bytes) {
    if (name.size() > limits.name_bytes)
        fail(file, name, concat("a name of at most ", limits.name_bytes, " bytes (limit)"),
             concat(name.size(), " bytes"));
    const JsonObject* entry = json.object();
    if (!entry) fail(file, name, "an object with dtype, shape and data_offsets", describe(&json));
    for (const JsonMember& member : entry->members())
        if (member.first != "dtype" && member.first != "shape" && member.first != "data_offsets")
            fail(file, name, "only dtype, shape and data_offsets", quoted(member.first));
    const Json *dtype = entry->find("dtype"), *shape = entry->find("shape"), *offsets = entry->find("data_offsets");
    const char* absent = !dtype ? "no dtype" : !shape ? "no shape" : !offsets ? "no data_offsets" : nullptr;
    if (absent) fail(file, name, "dtype, shape and data_offsets", absent);

    StoredTensor tensor;
    tensor.name = name;
    tensor.dtype = read_dtype(file, name, *dtype);

    const auto sizes = [&](const Json& list, const char* what) {
        std::vector<int64_t> values;
        for (const Json& item : *list.array()) {
            const JsonNumber* n = item.number();
            if (!n || !n->exact || n->integer < 0)
                fail(file, name, concat("integers of at least 0 as ", what), describe(&item));
            values.push_back(n->integer);
        }
        return values;
    };
    if (!shape->array()) fail(file, name, "an array as shape", describe(shape));
    if (shape->array()->size() > limits.rank)
        fail(file, name, concat("a rank of at most ", limits.rank, " (limit)"), std::to_string(shape->array()->size()));
    tensor.shape = sizes(*shape, "shape");
    if (!offsets->array() || offsets->array()->size() != 2)
        fail(file, name, "two integers as data_offsets", describe(offsets));
    const std::vector<int64_t> span = sizes(*offsets, "data_offsets");
    tensor.begin = static_cast<uint64_t>(span[0]);
    tensor.end = static_cast<uint64_t>(span[1]);
    if (tensor.begin > tensor.end)
        fail(file, name, "data that begins before it ends", concat("begin ", tensor.begin, ", end ", tensor.end));
    if (tensor.end > data_bytes)
        fail(file, name, concat("data within the file's ", data_bytes, " bytes of data"),
             concat("an end at byte ", tensor.end));

    uint64_t bytes;
    std::string kind = to_string(tensor.shape) + " of " + name_of(tensor.dtype);
    if (!tensor_bytes(tensor.shape, tensor.dtype, &tensor.count, &bytes))
        fail(file, name, "a shape whose size fits 64 bits", kind);
    if (bytes != tensor.end - tensor.begin)
        fail(file, name, concat(bytes, " bytes of data, which is ", kind, ","),
             std::to_string(tensor.end - tensor.begin));
    return tensor;
}

// Spans in order of their data: each begins where the one before ends, and the last one ends with the file.
void check_spans(const std::string& file, const std::vector<StoredTensor>& tensors, uint64_t data_bytes) {
    uint64_t at = 0;
    const StoredTensor* before = nullptr;
    for (const StoredTensor& tensor : tensors) {
        std::string expected = "data from byte " + std::to_string(at) + " on";
        if (tensor.begin < at)
            fail(file, tensor.name, expected,
                 concat("an overlap: it begins at byte ", tensor.begin, ", inside tensor ", quoted(before->name)));
        if (tensor.begin > at) fail(file, tensor.name, expected, concat("a hole: it begins at byte ", tensor.begin));
        at = tensor.end;
        before = &tensor;
    }
    if (at != data_bytes)
        throw wrong_file(file, concat(at, " bytes of data"),
                         concat(data_bytes, ": the last ", data_bytes - at, " trailing bytes belong to no tensor"));
}

template <class T>
void convert(FileDtype dtype, const uint8_t* from, size_t count, T* out) {
    auto each = [&](auto stored, auto to) {
        for (size_t i = 0; i < count; i++) {
            memcpy(&stored, from + i * sizeof stored, sizeof stored);
            out[i] = static_cast<T>(to(stored));
        }
    };
    auto same = [](auto value) { return value; };
    switch (dtype) {
        case FileDtype::F64: return each(double{}, same);
        case FileDtype::F32: return each(float{}, same);
        case FileDtype::F16: return each(uint16_t{}, float16_to_float);
        case FileDtype::BF16: return each(uint16_t{}, bfloat16_to_float);
        case FileDtype::I64: return each(int64_t{}, same);
        case FileDtype::I32: return each(int32_t{}, same);
        case FileDtype::U8: return each(uint8_t{}, same);
    }
}

bool matches(const std::string& name, const std::vector<std::string>& patterns) {
    for (const std::string& pattern : patterns) {
        size_t fixed = pattern.empty() || pattern.back() != '*' ? std::string::npos : pattern.size() - 1;
        if (fixed == std::string::npos ? name == pattern : name.compare(0, fixed, pattern, 0, fixed) == 0) return true;
    }
    return false;
}

bool ends_with(const std::string& text, const std::string& end) {
    return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// "missing 2: a, b": at most `most` names, so that the text of a wrong model stays readable.
void list_names(std::string* text, const char* what, const std::vector<std::string>& names) {
    constexpr size_t most = 8;
    if (names.empty()) return;
    *text += (text->empty() ? "" : "; ") + std::string(what) + " " + std::to_string(names.size()) + ": ";
    for (size_t i = 0; i < std::min(most, names.size()); i++) *text += (i ? ", " : "") + names[i];
    if (names.size() > most) *text += " and " + std::to_string(names.size() - most) + " more";
}

std::string join_lines(const std::vector<std::string>& names) {
    std::string text;
    for (const std::string& name : names) text += (text.empty() ? "" : "\n") + name;
    return text;
}

[[noreturn]] void fail_to_write(const std::string& path, const std::string& name, const std::string& expected,
                                const std::string& found) {
    throw Error("VIN_INVALID", concat("Expected ", expected, " for tensor ", quoted(name), " but received ", found),
                {{"file", path}, {"tensor", name}, {"expected", expected}, {"found", found}});
}

void narrow(const std::string& path, const TensorToWrite& tensor, uint64_t first, const float* values, size_t count,
            uint8_t* out) {
    auto each = [&](auto to) {
        for (size_t i = 0; i < count; i++) {
            auto stored = to(values[i]);
            memcpy(out + i * sizeof stored, &stored, sizeof stored);
        }
    };
    switch (tensor.dtype) {
        case FileDtype::F64: return each([](float value) { return static_cast<double>(value); });
        case FileDtype::F32: memcpy(out, values, count * sizeof(float)); return;
        case FileDtype::BF16: return each(float_to_bfloat16);
        case FileDtype::F16:
            for (size_t i = 0; i < count; i++)
                if (std::isfinite(values[i]) && (float_to_float16(values[i]) & 0x7FFFu) == 0x7C00u)
                    throw Error("VIN_NONFINITE",
                                concat("Expected values below 65520 for float16 but tensor ", quoted(tensor.name),
                                       " holds ", values[i], " at element ", first + i,
                                       "; write bfloat16 or float32 instead"),
                                {{"file", path}, {"tensor", tensor.name}});
            return each(float_to_float16);
        default: fail_to_write(path, tensor.name, "a floating dtype to convert fp32 values to", name_of(tensor.dtype));
    }
}

}  // namespace

const std::vector<std::string> ignored_weights = {"decoder.*", "lm_head.*", "pos_embed*", "loss.*"};

size_t bytes_of(FileDtype dtype) { return dtypes[static_cast<size_t>(dtype)].bytes; }
const char* name_of(FileDtype dtype) { return dtypes[static_cast<size_t>(dtype)].name; }

SafetensorsFile SafetensorsFile::open(const std::string& path, const SafetensorsLimits& limits, OpenRule rule) {
    SafetensorsFile reader;
    reader.file_ = path;
    reader.handle_ = ReadFile(path, rule);
    reader.read_header(limits);
    return reader;
}

SafetensorsFile SafetensorsFile::from_bytes(const void* data, size_t bytes, const std::string& file,
                                            const SafetensorsLimits& limits) {
    static const uint8_t none = 0;
    SafetensorsFile reader;
    reader.file_ = file;
    reader.data_ = bytes ? static_cast<const uint8_t*>(data) : &none;
    reader.bytes_ = bytes;
    reader.read_header(limits);
    return reader;
}

void SafetensorsFile::read_at(uint64_t offset, void* out, size_t bytes) const {
    if (bytes == 0) return;
    if (!data_) return handle_.read_at(offset, out, bytes);
    uint64_t end;
    if (!exact_add(&end, offset, bytes) || end > bytes_)
        throw wrong_file(file_, concat("data up to byte ", offset, " + ", bytes), concat(bytes_, " bytes"));
    memcpy(out, data_ + offset, bytes);
}

void SafetensorsFile::read_header(const SafetensorsLimits& limits) {
    if (size() < 8)
        throw wrong_file(file_, "at least the 8 bytes of the header's length", concat("a file of ", size()));
    uint64_t length;
    read_at(0, &length, 8);
    if (length < 2) throw wrong_file(file_, "a header of at least 2 bytes", std::to_string(length));
    char start[64];
    const size_t started = static_cast<size_t>(std::min<uint64_t>(sizeof start, size()));
    read_at(0, start, started);
    if (length > limits.header_bytes || length > size() - 8 || start[8] != '{') refuse_foreign(file_, start, started);
    if (length > limits.header_bytes)
        throw wrong_file(file_, concat("a header of at most ", limits.header_bytes, " bytes (limit)"),
                         std::to_string(length));
    if (length > size() - 8)
        throw wrong_file(file_, concat("a header that ends within the file's ", size(), " bytes"),
                         concat("one of ", length, " bytes after the first 8"));
    data_begin_ = 8 + length;
    uint64_t data_bytes = size() - data_begin_;

    std::string text(static_cast<size_t>(length), '\0');
    read_at(8, &text[0], text.size());
    if (text[0] != '{')
        throw wrong_file(file_, "'{' as the first byte of the header",
                         quoted(text.substr(0, valid_utf8(text.data(), 1))));

    // An entry of rank r is 6 + r values; the rest leaves room for metadata of 16 bytes each. More values would only
    // cost memory.
    JsonLimits json_limits;
    json_limits.bytes = text.size();
    json_limits.values =
        static_cast<size_t>(std::min<uint64_t>(length, (limits.tensors + 1) * (limits.rank + 8) + length / 16));
    Json json = parse_json(text.data(), text.size(), file_, json_limits);
    text = std::string();
    const std::vector<JsonMember>& members = json.object()->members();  // it begins with '{'
    const Json* metadata = json.object()->find("__metadata__");
    uint64_t count = members.size() - (metadata ? 1 : 0);
    if (count > limits.tensors)
        throw wrong_file(file_, concat("at most ", limits.tensors, " tensors (limit)"), std::to_string(count));

    if (metadata && !metadata->is_null()) {
        if (!metadata->object()) throw wrong_file(file_, "an object of strings as __metadata__", describe(metadata));
        for (const JsonMember& member : metadata->object()->members()) {
            if (!member.second.text())
                throw wrong_file(file_, "strings in __metadata__",
                                 concat(describe(&member.second), " for ", quoted(member.first)));
            metadata_.emplace_back(member.first, *member.second.text());
        }
    }
    tensors_.reserve(static_cast<size_t>(count));
    for (const JsonMember& member : members)
        if (&member.second != metadata)
            tensors_.push_back(read_entry(file_, member.first, member.second, limits, data_bytes));
    // An empty tensor shares its begin with the one that holds the byte there, and comes first.
    std::sort(tensors_.begin(), tensors_.end(), [](const StoredTensor& a, const StoredTensor& b) {
        return a.begin != b.begin ? a.begin < b.begin : a.end != b.end ? a.end < b.end : a.name < b.name;
    });
    check_spans(file_, tensors_, data_bytes);
}

template <class T>
void SafetensorsFile::read_as(const StoredTensor& tensor, T* out, const ReadOptions& options) const {
    size_t width = bytes_of(tensor.dtype), slice_count = slice_bytes / width;
    bool direct = sizeof(T) == width && (tensor.dtype == FileDtype::F32 || tensor.dtype == FileDtype::F64);
    std::vector<uint8_t> slice(
        direct ? 0 : static_cast<size_t>(std::min<uint64_t>(slice_bytes, tensor.end - tensor.begin)));
    for (uint64_t first = 0; first < tensor.count; first += slice_count) {
        check_keep_going(options.keep_going);
        size_t count = static_cast<size_t>(std::min<uint64_t>(slice_count, tensor.count - first));
        T* to = out + first;
        read_at(data_begin_ + tensor.begin + first * width, direct ? static_cast<void*>(to) : slice.data(),
                count * width);
        if (!direct) convert(tensor.dtype, slice.data(), count, to);
        if (!options.finite) continue;
        for (size_t i = 0; i < count; i++)
            if (!std::isfinite(to[i]))
                fail(file_, tensor.name, "finite values",
                     (std::isnan(to[i]) ? "NaN" : "an infinite value") + (" at element " + std::to_string(first + i)));
    }
}

void SafetensorsFile::read(const StoredTensor& tensor, float* out, const ReadOptions& options) const {
    read_as(tensor, out, options);
}
void SafetensorsFile::read(const StoredTensor& tensor, double* out, const ReadOptions& options) const {
    read_as(tensor, out, options);
}

void SafetensorsFile::read_bytes(const StoredTensor& tensor, void* out, const ReadOptions& options) const {
    for (uint64_t at = tensor.begin; at < tensor.end; at += slice_bytes) {
        check_keep_going(options.keep_going);
        size_t bytes = static_cast<size_t>(std::min<uint64_t>(slice_bytes, tensor.end - at));
        read_at(data_begin_ + at, static_cast<uint8_t*>(out) + (at - tensor.begin), bytes);
    }
}

TextPairs parse_shard_index(const char* text, size_t bytes, const std::string& file, const SafetensorsLimits& limits) {
    JsonLimits json_limits;
    json_limits.bytes = static_cast<size_t>(limits.header_bytes);
    Json json = parse_json(text, bytes, file, json_limits);
    JsonField map = JsonField(json, file)["weight_map"];
    TextPairs entries;
    if (!map.present() || !map.json()->object()) map.fail("an object of shard names");
    const std::vector<JsonMember>& members = map.json()->object()->members();
    if (members.size() > limits.tensors)
        throw wrong_file(file, concat("at most ", limits.tensors, " tensors (limit)"), std::to_string(members.size()));
    for (const auto& [name, shard] : members) {
        const std::string* base = shard.text();
        bool good = base && base->size() <= 255 && ends_with(*base, ".safetensors") &&
                    base->find_first_of(std::string("/\\\0", 3)) == std::string::npos;
        if (!good) fail(file, name, "the base name of a .safetensors file in the same folder", describe(&shard));
        entries.emplace_back(name, *base);
    }
    return entries;
}

SafetensorsSet SafetensorsSet::open(const std::vector<std::string>& files, const SafetensorsLimits& limits) {
    if (files.empty()) throw invalid("Expected at least one weight file but received none");
    SafetensorsSet set;
    set.label_ = files[0];
    for (const std::string& file : files) {
        if (!ends_with(file, ".index.json")) {
            set.add(SafetensorsFile::open(file, limits));
            continue;
        }
        std::string text = read_file(file, limits.header_bytes);
        auto entries = parse_shard_index(text.data(), text.size(), file, limits);
        std::unordered_map<std::string, std::string> shard_of(entries.begin(), entries.end());
        std::vector<std::string> shards;
        for (const auto& entry : entries) shards.push_back(entry.second);
        std::sort(shards.begin(), shards.end());
        shards.erase(std::unique(shards.begin(), shards.end()), shards.end());
        std::string folder = folder_of(file) + "/";
        for (const std::string& shard : shards) check_member_file(folder + shard);
        size_t found = 0;
        for (const std::string& shard : shards) {
            SafetensorsFile reader = SafetensorsFile::open(folder + shard, limits, OpenRule::member);
            for (const StoredTensor& tensor : reader.tensors()) {
                auto listed = shard_of.find(tensor.name);
                if (listed == shard_of.end())
                    fail(reader.file(), tensor.name, concat("an entry in the weight_map of ", base_name_of(file)),
                         "none");
                if (listed->second != shard)
                    fail(reader.file(), tensor.name,
                         concat("it only in ", listed->second, ", as ", base_name_of(file), " says,"), "it here too");
                found++;
            }
            set.add(std::move(reader));
        }
        if (found == entries.size()) continue;
        for (const auto& [name, shard] : entries)
            if (!set.find(name)) fail(file, name, concat("data in ", shard), "no such tensor there");
    }
    return set;
}

void SafetensorsSet::add(SafetensorsFile file) {
    for (size_t i = 0; i < file.tensors().size(); i++) {
        const std::string& name = file.tensors()[i].name;
        auto [at, fresh] = by_name_.emplace(name, std::make_pair(files_.size(), i));
        if (!fresh)
            fail(file.file(), name, "it in one file", concat("it in ", files_[at->second.first].file(), " too"));
    }
    files_.push_back(std::move(file));
}

std::vector<std::string> SafetensorsSet::names() const {
    std::vector<std::string> names;
    for (const auto& entry : by_name_) names.push_back(entry.first);
    std::sort(names.begin(), names.end());
    return names;
}

const StoredTensor* SafetensorsSet::find(const std::string& name) const {
    auto at = by_name_.find(name);
    return at == by_name_.end() ? nullptr : &files_[at->second.first].tensors()[at->second.second];
}

void SafetensorsSet::read_tensor(const std::string& name, float* out, const ReadOptions& options) const {
    auto at = by_name_.find(name);
    if (at == by_name_.end()) fail(label_, name, "data", "no such tensor");
    const SafetensorsFile& file = files_[at->second.first];
    file.read(file.tensors()[at->second.second], out, options);
}

bool SafetensorsSet::same(const std::string& a, const std::string& b, const KeepGoing& keep_going) const {
    const auto [file_a, tensor_a] = by_name_.at(a);
    const auto [file_b, tensor_b] = by_name_.at(b);
    const SafetensorsFile &first = files_[file_a], &second = files_[file_b];
    const StoredTensor &x = first.tensors()[tensor_a], &y = second.tensors()[tensor_b];
    if (x.dtype != y.dtype || x.shape != y.shape) return false;
    const uint64_t bytes = x.end - x.begin;
    std::vector<char> left(static_cast<size_t>(std::min<uint64_t>(slice_bytes, bytes))), right(left.size());
    for (uint64_t at = 0; at < bytes; at += slice_bytes) {
        check_keep_going(keep_going);
        const size_t count = static_cast<size_t>(std::min<uint64_t>(slice_bytes, bytes - at));
        first.read_at(first.data_begin_ + x.begin + at, left.data(), count);
        second.read_at(second.data_begin_ + y.begin + at, right.data(), count);
        if (memcmp(left.data(), right.data(), count) != 0) return false;
    }
    return true;
}

void check_weights(const SafetensorsSet& set, const std::vector<ExpectedWeight>& expected,
                   const std::vector<std::string>& ignored) {
    std::vector<std::string> missing, unexpected, wrong, integers;
    std::unordered_map<std::string, const ExpectedWeight*> known;
    for (const ExpectedWeight& weight : expected) {
        known[weight.name] = &weight;
        const StoredTensor* tensor = set.find(weight.name);
        if (!tensor && !weight.optional) missing.push_back(weight.name);
        if (!tensor) continue;
        if (tensor->dtype == FileDtype::I64 || tensor->dtype == FileDtype::I32 || tensor->dtype == FileDtype::U8)
            integers.push_back(weight.name + " (" + name_of(tensor->dtype) + ")");
        if (tensor->shape != weight.shape && !(weight.scalar && tensor->shape.empty()))
            wrong.push_back(weight.name + " (expected " + to_string(weight.shape) + ", found " +
                            to_string(tensor->shape) + ")");
    }
    for (const std::string& name : set.names())
        if (!known.count(name) && !matches(name, ignored)) unexpected.push_back(name);
    if (missing.empty() && unexpected.empty() && wrong.empty() && integers.empty()) return;
    std::string text;
    list_names(&text, "missing", missing);
    list_names(&text, "unexpected", unexpected);
    list_names(&text, "of another shape", wrong);
    list_names(&text, "of integers", integers);
    throw Error("VIN_FORMAT",
                concat(set.label(), ": expected the ", expected.size(), " tensors of this config but found ", text),
                {{"file", set.label()},
                 {"missing", join_lines(missing)},
                 {"unexpected", join_lines(unexpected)},
                 {"wrongShape", join_lines(wrong)},
                 {"integers", join_lines(integers)}});
}

std::function<void(uint64_t, size_t, float*)> values_at(const float* data) {
    return [data](uint64_t first, size_t count, float* out) { memcpy(out, data + first, count * sizeof(float)); };
}

void write_safetensors(const std::string& path, std::vector<TensorToWrite> tensors, const TextPairs& metadata,
                       const KeepGoing& keep_going) {
    const SafetensorsLimits limits;
    // Wide dtypes first: every tensor is then aligned to its own dtype, since the header is padded to 8 bytes.
    std::sort(tensors.begin(), tensors.end(), [](const TensorToWrite& a, const TensorToWrite& b) {
        return bytes_of(a.dtype) != bytes_of(b.dtype) ? bytes_of(a.dtype) > bytes_of(b.dtype) : a.name < b.name;
    });

    JsonArray entries;
    uint64_t at = 0;
    std::vector<uint64_t> counts;
    for (const TensorToWrite& tensor : tensors) {
        if (tensor.name.size() > limits.name_bytes)
            fail_to_write(path, tensor.name, concat("a name of at most ", limits.name_bytes, " bytes"),
                          std::to_string(tensor.name.size()));
        if (tensor.name == "__metadata__")
            fail_to_write(path, tensor.name, "a name that the format does not use itself", "it");
        if (valid_utf8(tensor.name.data(), tensor.name.size()) != tensor.name.size())
            fail_to_write(path, tensor.name, "a UTF-8 name", "other bytes");
        if (tensor.shape.size() > limits.rank)
            fail_to_write(path, tensor.name, concat("a rank of at most ", limits.rank),
                          std::to_string(tensor.shape.size()));
        uint64_t count, bytes, end;
        if (!tensor_bytes(tensor.shape, tensor.dtype, &count, &bytes) || !exact_add(&end, at, bytes) || end > INT64_MAX)
            fail_to_write(path, tensor.name, "a shape of dimensions from 0 whose size fits 63 bits",
                          to_string(tensor.shape));
        if (count && !tensor.bytes && !tensor.values) fail_to_write(path, tensor.name, "data", "none");
        JsonArray shape;
        for (int64_t dimension : tensor.shape) shape.emplace_back(dimension);
        JsonObject entry;
        entry.set("dtype", name_of(tensor.dtype));
        entry.set("shape", std::move(shape));
        entry.set("data_offsets", JsonArray{Json(static_cast<int64_t>(at)), Json(static_cast<int64_t>(end))});
        entries.emplace_back(std::move(entry));
        counts.push_back(count);
        at = end;
    }
    if (tensors.size() > limits.tensors)
        throw invalid("Expected at most ", limits.tensors, " tensors but received ", tensors.size());
    JsonObject header, strings;
    strings.set("format", "pt");
    for (const auto& [key, value] : metadata) {
        if (valid_utf8(key.data(), key.size()) != key.size() || valid_utf8(value.data(), value.size()) != value.size())
            throw invalid("Expected UTF-8 metadata but ", quoted(key), " is not");
        strings.set(key, value);
    }
    header.set("__metadata__", std::move(strings));
    for (size_t i = 0; i < tensors.size(); i++) {
        if (header.find(tensors[i].name)) fail_to_write(path, tensors[i].name, "every name once", "it twice");
        header.set(tensors[i].name, std::move(entries[i]));
    }
    std::string text = write_json(std::move(header));
    text.resize((text.size() + 7) / 8 * 8, ' ');
    if (text.size() > limits.header_bytes)
        throw invalid("Expected a header of at most ", limits.header_bytes, " bytes but names and metadata take ",
                      text.size());

    AtomicFile file(path);
    uint64_t length = text.size();
    file.write(&length, 8);
    file.write(text.data(), text.size());
    std::vector<float> values;
    std::vector<uint8_t> stored;
    for (size_t i = 0; i < tensors.size(); i++) {
        const TensorToWrite& tensor = tensors[i];
        size_t width = bytes_of(tensor.dtype), slice_count = tensor.bytes ? slice_bytes / width : write_values;
        for (uint64_t first = 0; first < counts[i]; first += slice_count) {
            check_keep_going(keep_going);
            size_t count = static_cast<size_t>(std::min<uint64_t>(slice_count, counts[i] - first));
            if (tensor.bytes) {
                file.write(static_cast<const uint8_t*>(tensor.bytes) + first * width, count * width);
                continue;
            }
            values.resize(count);
            stored.resize(count * width);
            tensor.values(first, count, values.data());
            narrow(path, tensor, first, values.data(), count, stored.data());
            file.write(stored.data(), stored.size());
        }
    }
    check_keep_going(keep_going);
    file.commit();
}

}  // namespace vin
