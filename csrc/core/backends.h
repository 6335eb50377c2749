// The backends there are, by name: the built-in CPU, plug-ins by path.
#pragma once
#include <string>
#include <vector>

#include "../backend.h"
#include "error.h"

namespace vin {

// device: "cpu", else a plug-in opens it; isa: "" for the best one. Throws VIN_NOT_SUPPORTED or
// VIN_BACKEND_UNAVAILABLE with the reason.
vin_backend open_backend(const vin_host& host, const std::string& device, const std::string& isa,
                         const std::string& plugin_path);
// A plug-in by itself: no device is asked for. Throws VIN_BACKEND_UNAVAILABLE with the reason.
vin_backend open_plugin(const vin_host& host, const std::string& path);
// The files of this name where the system's loader would look for it, and what is loaded from one, told without opening
// any: what loads may crash, and a pipe is waited for. None: dlopen(name) finds nothing. With glibc alone.
std::vector<std::string> find_library(const std::string& name);
// The N of a device "cuda:N", else 0.
int32_t ordinal_of(const std::string& device);
// What a plug-in says that opens neither itself nor a device, in its own words.
Error refusal(const vin_backend& backend, vin_status status, const std::string& path);
// Instruction sets of this machine that were built in, worst first.
std::vector<std::string> cpu_isas();
// fp32 operations per second of `threads` threads that do nothing but multiply-adds in registers (isa "": the best
// one): the measured peak of benchmarks. Takes about 20 ms of the calling thread. Throws VIN_NOT_SUPPORTED.
double cpu_peak(const std::string& isa, int threads);

}  // namespace vin
