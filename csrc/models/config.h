// Reads a model's configuration. Each value is checked where it is read (JsonField) and kept under its key as it was
// resolved: that is the config that JavaScript gets, shows and saves.
#pragma once
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "../core/json.h"

namespace vin {

class ConfigReader {
public:
    explicit ConfigReader(JsonField field) : field_(std::move(field)) {}

    // Without `otherwise` the key must be there; null is taken for absent, as Python writers do.
    int64_t integer(const char* key, int64_t min, int64_t max, std::optional<int64_t> otherwise = {});
    double number(const char* key, double min, double max, std::optional<double> otherwise = {});
    bool boolean(const char* key, bool otherwise);
    std::string one_of(const char* key, std::initializer_list<const char*> choices, const char* otherwise);
    // Exactly as many integers as `otherwise` has.
    std::vector<int64_t> integers(const char* key, int64_t min, int64_t max, const std::vector<int64_t>& otherwise);
    std::vector<bool> booleans(const char* key, const std::vector<bool>& otherwise);
    // `count` numbers, of which one stands for all; absent: none, and nothing is kept.
    std::vector<double> numbers(const char* key, size_t count);

    // What a config says its model is, where it says so: by another name it is another model, whose weights would fail
    // one by one.
    void named(const char* key, std::initializer_list<const char*> names) const;

    JsonField operator[](const char* key) const { return field_[key]; }
    void keep(const char* key, Json value) { resolved_.set(key, std::move(value)); }
    const JsonObject& resolved() const { return resolved_; }

private:
    JsonField field_;
    JsonObject resolved_;
};

}  // namespace vin
