// The backends there are, by name: the built-in CPU, plug-ins by path.
#pragma once
#include <string>
#include <vector>

#include "../backend.h"
#include "error.h"

namespace vin {

// device: "cpu" or the name of a plug-in's device; isa: "" for the best one. Throws VIN_NOT_SUPPORTED or VIN_DEVICE_ERROR with the reason.
vin_backend open_backend(const vin_host& host, const std::string& device, const std::string& isa, const std::string& plugin_path);
// Instruction sets of this machine that were built in, worst first.
std::vector<std::string> cpu_isas();

}  // namespace vin
