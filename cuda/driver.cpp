// Fills the table of driver.h from NVIDIA's libcuda, found at run time so that the plug-in loads on machines without
// it.
#include "driver.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "images.h"

namespace vin {
namespace cuda {

static const void* image_of(const char* kernel) {
    const KernelImage* row = kernel_images;
    while (kernel && row->kernel && strcmp(row->kernel, kernel) != 0) row++;
    return row->image;
}

__attribute__((format(printf, 2, 3))) static Refusal refusal(vin_status status, const char* format, ...) {
    Refusal refusal = {status, ""};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(refusal.text, sizeof refusal.text, format, arguments);
    va_end(arguments);
    return refusal;
}

// The kernel's part of the driver, which containers see too.
static bool machine_has_driver() { return access("/proc/driver/nvidia/version", F_OK) == 0; }

static Refusal find(void** library) {
    if ((*library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL))) return {VIN_OK, ""};
    // Where there is no such file, the host has said so before it loaded this plug-in; it also knows of WSL.
    const char* error = dlerror();
    const Refusal refused =
        refusal(VIN_NO_DRIVER, "Expected to load NVIDIA's driver but %s; install the driver again", error ? error : "");
    if (!strstr(refused.text, "No such file")) return refused;
    // Windows puts the driver where a Linux of its own is told to look, but a container in it is not.
    static const char wsl[] = "/usr/lib/wsl/lib/libcuda.so.1";
    if ((*library = dlopen(wsl, RTLD_NOW | RTLD_LOCAL))) return {VIN_OK, ""};
    error = dlerror();
    if (access(wsl, F_OK) == 0)
        return refusal(
            VIN_NO_WSL_DRIVER,
            "Expected to load the driver that Windows lends but %s; add /usr/lib/wsl/lib to LD_LIBRARY_PATH, "
            "or run `wsl --update` in Windows",
            error ? error : "it does not load");
    return refused;
}

static Refusal fill(Driver& driver) {
    void* library = nullptr;
    const Refusal missing = find(&library);
    if (missing.status != VIN_OK) return missing;
    const char* lacks = nullptr;
#define VIN_DRIVER_FILL(field, symbol, parameters) \
    driver.field = reinterpret_cast<decltype(driver.field)>(dlsym(library, symbol)); \
    if (!driver.field && !lacks) lacks = symbol;
    VIN_DRIVER_TABLE(VIN_DRIVER_FILL)
#undef VIN_DRIVER_FILL
    const int toolkit = atoi(VIN_TOOLKIT_VERSION);
    int version = 0;
    const bool has_version = driver.driver_version && driver.driver_version(&version) == CUDA_SUCCESS;
    // An old driver may lack functions; the first ones of CUDA 12 and 13 are in NVIDIA's table of compatibility.
    if (has_version && version / 1000 < toolkit)
        return refusal(VIN_DRIVER_TOO_OLD,
                       "Expected a driver for CUDA %d but found one for CUDA %d.%d; update it to %d or later", toolkit,
                       version / 1000, version % 1000 / 10, toolkit >= 13 ? 580 : 525);
    if (lacks)
        return refusal(VIN_NO_DRIVER,
                       "Expected %s in libcuda.so.1 but it has none: it is not NVIDIA's driver, or damaged; install "
                       "the driver again, and take another library of that name out of LD_LIBRARY_PATH",
                       lacks);
    driver.image_of = image_of;
    driver.name = "cuda";
    driver.build = VIN_TOOLKIT_VERSION;
    return {VIN_OK, ""};
}

static Refusal start(const Driver& driver) {
    const CudaResult result = driver.init(0);
    if (result == CUDA_SUCCESS) return {VIN_OK, ""};
    const char* visible = getenv("CUDA_VISIBLE_DEVICES");
    if (result == CUDA_ERROR_NO_DEVICE && visible)
        return refusal(VIN_NO_DEVICE, "Expected a GPU but CUDA_VISIBLE_DEVICES=%.60s shows none; unset it", visible);
    if (result == CUDA_ERROR_NO_DEVICE && !machine_has_driver())
        return refusal(VIN_NO_DEVICE, "Expected a GPU but NVIDIA's driver finds none; use device 'cpu'");
    if (result == CUDA_ERROR_STUB_LIBRARY)
        return refusal(VIN_NO_DRIVER,
                       "Expected NVIDIA's driver but libcuda.so.1 is the stub that programs are linked with; take its "
                       "folder out of LD_LIBRARY_PATH");
    if (result == CUDA_ERROR_SYSTEM_DRIVER_MISMATCH)
        return refusal(VIN_NO_ACCESS,
                       "Expected one version of NVIDIA's driver but its library and its kernel module differ; restart "
                       "the machine after an update, and the container");
    return refusal(VIN_NO_ACCESS,
                   "Expected a GPU but NVIDIA's driver does not start here (cuInit gave %d); give the container its "
                   "devices (--gpus all), or this user access to /dev/nvidia*, or start the machine again",
                   result);
}

const Driver* open_driver(const Refusal** refusal) {
    static Driver driver = {};
    static const Refusal found = fill(driver);
    *refusal = &found;
    return found.status == VIN_OK ? &driver : nullptr;
}

const Driver* start_driver(const Refusal** refusal) {
    const Driver* driver = open_driver(refusal);
    if (!driver) return nullptr;
    static const Refusal started = start(*driver);
    *refusal = &started;
    return started.status == VIN_OK ? driver : nullptr;
}

}  // namespace cuda
}  // namespace vin
