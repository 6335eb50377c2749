#include "sha256.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>

namespace vin {

namespace {

constexpr uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

constexpr const char* list_name = "SHA256SUMS";
constexpr size_t list_bytes = size_t{1} << 20;
constexpr size_t slice_bytes = size_t{4} << 20;

uint32_t rotate_right(uint32_t x, int n) { return x >> n | x << (32 - n); }

std::string digest_of(const ReadFile& file, const KeepGoing& keep_going) {
    Sha256 hash;
    std::vector<char> slice(static_cast<size_t>(std::min<uint64_t>(slice_bytes, file.size())));
    for (uint64_t at = 0; at < file.size(); at += slice.size()) {
        check_keep_going(keep_going);
        size_t bytes = static_cast<size_t>(std::min<uint64_t>(slice.size(), file.size() - at));
        file.read_at(at, slice.data(), bytes);
        hash.update(slice.data(), bytes);
    }
    return hash.hex();
}

}  // namespace

void Sha256::block(const uint8_t* data) {
    uint32_t w[64];
    for (int i = 0; i < 16; i++) {
        w[i] = 0;
        for (int j = 0; j < 4; j++) w[i] = w[i] << 8 | data[4 * i + j];
    }
    for (int i = 16; i < 64; i++) {
        uint32_t s0 = rotate_right(w[i - 15], 7) ^ rotate_right(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t s1 = rotate_right(w[i - 2], 17) ^ rotate_right(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    auto [a, b, c, d, e, f, g, h] = state_;
    for (int i = 0; i < 64; i++) {
        uint32_t t1 = h + (rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25)) + ((e & f) ^ (~e & g)) + round_constants[i] + w[i];
        uint32_t t2 = (rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
        h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    const uint32_t sums[8] = {a, b, c, d, e, f, g, h};
    for (int i = 0; i < 8; i++) state_[i] += sums[i];
}

void Sha256::update(const void* data, size_t bytes) {
    const uint8_t* from = static_cast<const uint8_t*>(data);
    size_t held = bytes_ % 64;
    bytes_ += bytes;
    if (held) {
        size_t taken = std::min(bytes, 64 - held);
        memcpy(pending_ + held, from, taken);
        if (held + taken < 64) return;
        block(pending_);
        from += taken;
        bytes -= taken;
    }
    for (; bytes >= 64; from += 64, bytes -= 64) block(from);
    if (bytes) memcpy(pending_, from, bytes);
}

std::string Sha256::hex() {
    uint8_t tail[128] = {0x80};
    uint64_t bits = bytes_ * 8;
    size_t held = bytes_ % 64, padding = (held < 56 ? 56 : 120) - held;
    for (int i = 0; i < 8; i++) tail[padding + static_cast<size_t>(i)] = static_cast<uint8_t>(bits >> (56 - 8 * i));
    update(tail, padding + 8);
    std::string text;
    for (uint32_t word : state_)
        for (int shift = 28; shift >= 0; shift -= 4) text.push_back("0123456789abcdef"[word >> shift & 15]);
    return text;
}

std::vector<std::pair<std::string, std::string>> parse_sha256_list(const std::string& text, const std::string& file) {
    std::vector<std::pair<std::string, std::string>> entries;
    size_t line = 0;
    for (size_t at = 0; at < text.size();) {
        size_t end = std::min(text.find('\n', at), text.size());
        std::string row = text.substr(at, end - at);
        at = end + 1;
        line++;
        if (!row.empty() && row.back() == '\r') row.pop_back();
        if (row.empty()) continue;
        std::string digest = row.substr(0, 64);
        for (char& c : digest)
            if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
        // Two characters part digest and path: a space, then a space (text) or a star (binary).
        bool good = row.size() > 66 && row[64] == ' ' && (row[65] == ' ' || row[65] == '*') &&
                    digest.find_first_not_of("0123456789abcdef") == std::string::npos;
        if (!good) {
            std::string where = "64 hexadecimal digits, two spaces and a path in line " + std::to_string(line);
            throw Error("VIN_FORMAT", file + ": expected " + where + " but found another text", {{"file", file}, {"expected", where}});
        }
        std::string path = row.substr(66);
        if (path.compare(0, 2, "./") == 0) path.erase(0, 2);
        entries.emplace_back(path, digest);
    }
    return entries;
}

bool verify_sha256(const ReadFile& file, const KeepGoing& keep_going) {
    std::string folder = folder_of(file.path()), base = base_name_of(file.path()), own = base_name_of(folder);
    // (list, the file's name in it). The name of a folder given as "." or ".." is not known, so a list above it cannot name the file.
    std::vector<std::pair<std::string, std::string>> candidates = {{folder + "/" + list_name, base}};
    if (own != "." && own != ".." && !own.empty()) candidates.emplace_back(folder_of(folder) + "/" + list_name, own + "/" + base);

    std::string found;
    for (const auto& [list, name] : candidates) {
        struct stat info;
        if (stat(list.c_str(), &info) != 0) continue;
        for (const auto& [path, digest] : parse_sha256_list(read_file(list, list_bytes), list)) {
            if (path != name) continue;
            if (found.empty()) found = digest_of(file, keep_going);
            if (found == digest) continue;
            std::string text = file.path() + ": expected SHA-256 " + digest + " of " + list + " but found " + found;
            throw Error("VIN_FORMAT", text + "; the file is damaged, copy it again", {{"file", file.path()}, {"expected", digest}, {"found", found}});
        }
    }
    return !found.empty();
}

}  // namespace vin
