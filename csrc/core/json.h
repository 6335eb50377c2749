// Strict JSON for untrusted files: valid UTF-8 (a byte order mark in front is passed over), no duplicate keys, no lone
// surrogates, nothing after the value, and caps on bytes, depth and values that hold before memory is taken. JsonField
// adds where a value stands, so that a wrong config value is reported as file, key and what was expected.
#pragma once
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "error.h"

namespace vin {

struct JsonLimits {
    size_t bytes = size_t{1} << 20;   // a config; tokenizer.json and safetensors headers ask for more
    size_t depth = 64;                // nested arrays and objects; never more than 512, which bounds the stack
    size_t values = size_t{1} << 22;  // a value takes about 40 bytes, while "0," takes two of the file
    bool nonfinite = false;  // Infinity, -Infinity and NaN are numbers, as Python's json writes them into configs
};

struct Json;

// A number as double (finite, unless JsonLimits::nonfinite), and exactly as int64 if its text is an integer (no
// fraction, no exponent, not -0) that fits.
struct JsonNumber {
    double value = 0;
    int64_t integer = 0;
    bool exact = false;
};

using JsonArray = std::vector<Json>;
using JsonMember = std::pair<std::string, Json>;

// Members in the order of the text, and the same members by key for lookup.
class JsonObject {
public:
    const std::vector<JsonMember>& members() const { return members_; }
    const Json* find(const std::string& key) const;  // NULL: absent
    void set(std::string key, Json value);           // replaces or appends

private:
    friend class JsonParser;
    const std::string* index();  // returns a key that occurs twice, or NULL
    std::vector<uint32_t>::const_iterator place(const std::string& key) const;

    std::vector<JsonMember> members_;
    std::vector<uint32_t> by_key_;  // indices of members, sorted by their keys
};

struct Json {
    std::variant<std::nullptr_t, bool, JsonNumber, std::string, JsonArray, JsonObject> value = nullptr;

    Json() = default;
    Json(bool b) : value(b) {}
    Json(double number) : value(JsonNumber{number, 0, false}) {}
    Json(int64_t integer) : value(JsonNumber{static_cast<double>(integer), integer, true}) {}
    Json(std::string text) : value(std::move(text)) {}
    Json(const char* text) : value(std::string(text)) {}
    Json(JsonArray array) : value(std::move(array)) {}
    Json(JsonObject object) : value(std::move(object)) {}

    bool is_null() const { return std::holds_alternative<std::nullptr_t>(value); }
    const bool* boolean() const { return std::get_if<bool>(&value); }
    const JsonNumber* number() const { return std::get_if<JsonNumber>(&value); }
    const std::string* text() const { return std::get_if<std::string>(&value); }
    const JsonArray* array() const { return std::get_if<JsonArray>(&value); }
    const JsonObject* object() const { return std::get_if<JsonObject>(&value); }
};

// `file` is only named in errors. Throws VIN_FORMAT.
Json parse_json(const char* text, size_t bytes, const std::string& file, const JsonLimits& limits = {});

// Compact text without spaces; numbers in the fewest digits that read back as the same double. A number that is not
// finite throws VIN_INVALID.
std::string write_json(const Json& json);

// What an error message says was found: scalars as they are, containers by their size; null: nothing.
std::string describe(const Json* json);

// Text for an error message: quoted, control characters escaped, cut after about 80 bytes.
std::string quoted(const std::string& text);

// The offset of the first byte that is not UTF-8 (RFC 3629: no surrogates, no overlong forms), or `bytes`.
size_t valid_utf8(const char* text, size_t bytes);

// A value and where it stands: `JsonField config(json, "config.json"); int64_t depth = config["depth"].integer(1,
// 4096);` An absent key is a field too: asking it for a value is the error. The json outlives the field. `_or` takes
// null for absent, as Python writers do.
class JsonField {
public:
    JsonField(const Json& json, std::string file) : json_(&json), file_(std::move(file)) {}

    JsonField operator[](const std::string& key) const;  // of an object
    JsonField operator[](size_t index) const;            // of an array
    bool present() const { return json_ != nullptr; }
    bool present_and_not_null() const { return json_ && !json_->is_null(); }
    size_t size() const;  // of an array

    int64_t integer(int64_t min, int64_t max) const;
    int64_t integer_or(int64_t fallback, int64_t min, int64_t max) const;
    double number(double min, double max) const;  // min ≤ value ≤ max
    double number() const;                        // any finite number
    double number_or(double fallback, double min, double max) const;
    bool boolean() const;
    bool boolean_or(bool fallback) const;
    const std::string& text() const;
    std::string one_of(std::initializer_list<const char*> choices) const;
    std::vector<int64_t> integers(int64_t min, int64_t max, size_t max_count) const;  // an array of integers

    const Json* json() const { return json_; }
    // Throws VIN_FORMAT; `expected` are the parts of a text.
    template <class... Parts>
    [[noreturn]] void fail(const Parts&... expected) const {
        refuse(concat(expected...));
    }
    // A value that is well-formed, but that nothing here computes with: VIN_NOT_SUPPORTED.
    [[noreturn]] void unsupported(const std::string& expected) const;
    JsonField or_empty() const;  // an object without members where the value is absent or null

private:
    [[noreturn]] void refuse(const std::string& expected) const;
    JsonField(const Json* json, std::string file, std::string path)
        : json_(json), file_(std::move(file)), path_(std::move(path)) {}

    const Json* json_;
    std::string file_, path_;  // path: "rope.axes[2]"
};

}  // namespace vin
