// SHA-256 (FIPS 180-4), and SHA256SUMS lists as sha256sum writes them: "<64 hex digits>  <path relative to the list's folder>".
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "files.h"

namespace vin {

class Sha256 {
public:
    void update(const void* data, size_t bytes);
    std::string hex();  // ends the message; the object is used up

private:
    void block(const uint8_t* data);

    std::array<uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    uint8_t pending_[64];
    uint64_t bytes_ = 0;
};

// Asked between slices of a long read or write: false stops it with VIN_ABORTED. May be empty.
using KeepGoing = std::function<bool()>;
inline void check_keep_going(const KeepGoing& keep_going) {
    if (keep_going && !keep_going()) throw Error("VIN_ABORTED", "Aborted");
}

// (path, lower-case digest) for each line; VIN_FORMAT for any other text.
std::vector<std::pair<std::string, std::string>> parse_sha256_list(const std::string& text, const std::string& file);

// Compares a file with the SHA256SUMS of its folder and of the folder above (a component inside a model folder). Returns whether a list names
// the file. VIN_FORMAT if a digest differs: right size, wrong bytes.
bool verify_sha256(const ReadFile& file, const KeepGoing& keep_going = {});

}  // namespace vin
