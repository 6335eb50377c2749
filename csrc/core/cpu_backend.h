// What core needs of the built-in backend, in plain C: csrc/cpu defines it. One table of kernels per instruction set.
#pragma once
#include "../backend.h"

// Names of the instruction sets that this build and this machine have, worst first; returns their number (at most
// VIN_CPU_MAX_ISAS).
#define VIN_CPU_MAX_ISAS 8
int vin_cpu_isas(const char** names);

// Fills *backend with the kernels of `isa` (NULL: the best there is). VIN_NOT_SUPPORTED for one that is missing. `host`
// must outlive the backend.
vin_status vin_cpu_backend(const vin_host* host, const char* isa, vin_backend* backend);

// Multiply-adds in the registers of `isa` (NULL: the best there is) on the calling thread; returns their floating-point
// operations, 0 for an ISA that is missing.
double vin_cpu_multiply_adds(const char* isa, int64_t rounds);
