// The one exception of the native code. `code` is a stable name ("VIN_FORMAT", "VIN_DISK", ...), the text says what was
// expected and what was found, and details carry the fields of the error (numbers as decimal text). The binding turns
// it into a JavaScript error.
#pragma once
#include <exception>
#include <string>
#include <utility>
#include <vector>

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

}  // namespace vin
