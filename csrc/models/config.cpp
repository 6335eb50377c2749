#include "config.h"

namespace vin {

int64_t ConfigReader::integer(const char* key, int64_t min, int64_t max, std::optional<int64_t> otherwise) {
    const JsonField field = field_[key];
    const int64_t value = otherwise ? field.integer_or(*otherwise, min, max) : field.integer(min, max);
    keep(key, value);
    return value;
}

double ConfigReader::number(const char* key, double min, double max, std::optional<double> otherwise) {
    const JsonField field = field_[key];
    const double value = otherwise ? field.number_or(*otherwise, min, max) : field.number(min, max);
    keep(key, value);
    return value;
}

bool ConfigReader::boolean(const char* key, bool otherwise) {
    const bool value = field_[key].boolean_or(otherwise);
    keep(key, value);
    return value;
}

std::string ConfigReader::one_of(const char* key, std::initializer_list<const char*> choices, const char* otherwise) {
    const JsonField field = field_[key];
    const std::string value = field.present_and_not_null() ? field.one_of(choices) : otherwise;
    keep(key, value);
    return value;
}

void ConfigReader::named(const char* key, std::initializer_list<const char*> names) const {
    const JsonField field = field_[key];
    if (!field.present_and_not_null()) return;
    std::string expected;
    for (const char* name : names) {
        if (field.json()->text() && *field.json()->text() == name) return;
        expected += (expected.empty() ? "" : " or ") + std::string(name);
    }
    field.unsupported(expected);
}

std::vector<int64_t> ConfigReader::integers(const char* key, int64_t min, int64_t max,
                                            const std::vector<int64_t>& otherwise) {
    const JsonField field = field_[key];
    const std::vector<int64_t> values =
        field.present_and_not_null() ? field.integers(min, max, otherwise.size()) : otherwise;
    if (values.size() != otherwise.size()) field.fail("an array of ", otherwise.size(), " integers");
    keep(key, JsonArray(values.begin(), values.end()));
    return values;
}

std::vector<bool> ConfigReader::booleans(const char* key, const std::vector<bool>& otherwise) {
    const JsonField field = field_[key];
    std::vector<bool> values = otherwise;
    if (field.present_and_not_null()) {
        if (field.size() != values.size()) field.fail("an array of ", values.size(), " times true or false");
        for (size_t i = 0; i < values.size(); i++) values[i] = field[i].boolean();
    }
    JsonArray kept;
    for (bool value : values) kept.push_back(value);
    keep(key, kept);
    return values;
}

std::vector<double> ConfigReader::numbers(const char* key, size_t count) {
    const JsonField field = field_[key];
    if (!field.present_and_not_null()) return {};
    std::vector<double> values;
    if (field.json()->number()) {
        values.assign(count, field.number());
    } else {
        if (!field.json()->array() || field.size() != count) field.fail("a number or an array of ", count, " numbers");
        for (size_t i = 0; i < count; i++) values.push_back(field[i].number());
    }
    keep(key, JsonArray(values.begin(), values.end()));
    return values;
}

}  // namespace vin
