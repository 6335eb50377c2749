// The safetensors reader and the shard index on arbitrary bytes: each throws vin::Error or gives tensors that tile the data.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "../../csrc/core/safetensors.h"

namespace {

void read(const std::string& bytes) {
    try {
        vin::SafetensorsFile file = vin::SafetensorsFile::from_bytes(bytes.data(), bytes.size(), "input.safetensors");
        uint64_t total = 0;
        for (const vin::StoredTensor& tensor : file.tensors()) {
            if (tensor.end - tensor.begin != tensor.count * vin::bytes_of(tensor.dtype)) abort();
            total += tensor.end - tensor.begin;
            std::vector<float> values(tensor.count);
            vin::ReadOptions options;
            options.finite = true;
            std::vector<double> wide(tensor.count);
            try {
                file.read(tensor, values.data(), options);
                file.read(tensor, wide.data(), options);
            } catch (const vin::Error& error) {
                if (error.code != "VIN_FORMAT") abort();
                file.read(tensor, wide.data());
            }
            std::vector<uint8_t> raw(tensor.end - tensor.begin);
            file.read_bytes(tensor, raw.data());
        }
        uint64_t header;
        memcpy(&header, bytes.data(), 8);
        if (total + 8 + header != bytes.size()) abort();
    } catch (const vin::Error& error) {
        if (error.code != "VIN_FORMAT" && error.code != "VIN_NOT_SUPPORTED") abort();
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
    std::string input(reinterpret_cast<const char*>(data), bytes);
    read(input);

    // The same bytes with a length that ends the header at the last brace, so that mutations of its text get past the first check.
    size_t brace = input.rfind('}');
    if (bytes > 8 && brace != std::string::npos && brace >= 8) {
        uint64_t length = brace + 1 - 8;
        memcpy(&input[0], &length, 8);
        read(input);
    }

    try {
        vin::parse_shard_index(reinterpret_cast<const char*>(data), bytes, "model.safetensors.index.json");
    } catch (const vin::Error& error) {
        if (error.code != "VIN_FORMAT") abort();
    }
    return 0;
}
