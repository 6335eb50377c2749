// parse_json on arbitrary bytes: it throws vin::Error or gives a value whose text parses to the same text again.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "../../csrc/core/json.h"

namespace {

// Every accessor on every value: each returns or throws, and the sizes agree.
void visit(const vin::JsonField& field, int depth) {
    auto attempt = [](auto ask) {
        try {
            ask();
        } catch (const vin::Error&) {
        }
    };
    attempt([&] { field.integer(-8, 4096); });
    attempt([&] { field.number(0, 1); });
    attempt([&] { field.boolean_or(true); });
    attempt([&] { field.one_of({"stdit3", "vin"}); });
    attempt([&] { field.integers(0, 1 << 20, 8); });
    if (depth == 8) return;
    if (field.present() && field.json()->object()) {
        for (const auto& [key, value] : field.json()->object()->members()) {
            if (field[key].json() != &value) abort();
            visit(field[key], depth + 1);
        }
    }
    if (field.present() && field.json()->array())
        for (size_t i = 0; i < field.size() && i < 16; i++) visit(field[i], depth + 1);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
    try {
        vin::Json json = vin::parse_json(reinterpret_cast<const char*>(data), bytes, "input.json");
        std::string text = vin::write_json(json);
        if (vin::write_json(vin::parse_json(text.data(), text.size(), "output.json", {SIZE_MAX, 64, SIZE_MAX})) != text) abort();
        visit(vin::JsonField(json, "input.json"), 0);
    } catch (const vin::Error& error) {
        if (error.code != "VIN_FORMAT") abort();
    }
    try {
        vin::JsonLimits limits;
        limits.nonfinite = true;
        visit(vin::JsonField(vin::parse_json(reinterpret_cast<const char*>(data), bytes, "input.json", limits), "input.json"), 0);
    } catch (const vin::Error& error) {
        if (error.code != "VIN_FORMAT") abort();
    }
    return 0;
}
