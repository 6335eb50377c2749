// The one exception of the native code. `code` is a stable name ("VIN_FORMAT", "VIN_DISK", ...), the text says what was
// expected and what was found, and details carry the fields of the error (numbers as decimal text). The binding turns
// it into a JavaScript error.
#pragma once
#include <cstdint>
#include <exception>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "../backend.h"

namespace vin {

using ErrorDetails = std::vector<std::pair<std::string, std::string>>;

class Error : public std::exception {
public:
    Error(std::string code_, std::string text_, ErrorDetails details_ = {})
        : code(std::move(code_)), text(std::move(text_)), details(std::move(details_)) {}

    const char* what() const noexcept override { return text.c_str(); }

    std::string code;
    std::string text;
    ErrorDetails details;
};

inline std::string to_string(std::string text) { return text; }
template <class Number, class = std::enable_if_t<std::is_arithmetic_v<Number>>>
std::string to_string(Number number) {
    return std::to_string(number);
}
// A shape: [4, 20, 24, 40]
inline std::string to_string(const std::vector<int64_t>& shape) {
    std::string text = "[";
    for (size_t i = 0; i < shape.size(); i++) text += (i ? ", " : "") + std::to_string(shape[i]);
    return text + "]";
}

// The parts of a text behind one another.
template <class... Parts>
std::string concat(const Parts&... parts) {
    std::string text;
    ((text += to_string(parts)), ...);
    return text;
}

// A wrong argument.
template <class... Parts>
Error invalid(const Parts&... parts) {
    return Error("VIN_INVALID", concat(parts...));
}
template <class... Parts>
void expect(bool condition, const Parts&... parts) {
    if (!condition) throw invalid(parts...);
}

// A file that holds something else.
inline Error wrong_file(const std::string& file, const std::string& expected, const std::string& found) {
    return Error("VIN_FORMAT", concat(file, ": expected ", expected, " but found ", found),
                 {{"file", file}, {"expected", expected}, {"found", found}});
}

// The code of an error that a backend's status becomes.
inline const char* code_of(vin_status status) {
    switch (status) {
        case VIN_INVALID: return "VIN_INVALID";
        case VIN_NOT_SUPPORTED: return "VIN_NOT_SUPPORTED";
        case VIN_OUT_OF_MEMORY: return "VIN_OUT_OF_MEMORY";
        case VIN_ABORTED: return "VIN_ABORTED";
        case VIN_NONFINITE: return "VIN_NONFINITE";
        case VIN_FORMAT: return "VIN_FORMAT";
        case VIN_NO_DRIVER:
        case VIN_DRIVER_TOO_OLD:
        case VIN_NO_CODE:
        case VIN_NO_DEVICE:
        case VIN_NO_ACCESS:
        case VIN_NO_WSL_DRIVER: return "VIN_BACKEND_UNAVAILABLE";
        default: return "VIN_DEVICE_ERROR";
    }
}

}  // namespace vin
